//! `github/webhook`: fires on what happens in a repository at GitHub (contract §3.4).
//!
//! ```yaml
//! feed: /whisk.system/github/webhook
//! inputs: { repository: owner/name, accessToken: "...", events: "push,pull_request", branches: "main" }
//! ```
//!
//! Deliveries come to `/hooks/github/{namespace}/{trigger}`, signed (`X-Hub-Signature-256`), as JSON or as a form. A delivery
//! that comes again is recognised by `X-GitHub-Delivery`; a ping is answered and fires nothing. The trigger gets the payload's
//! fields, with `x-github-event` and the other headers in `__ow_headers`.
//!
//! With an `accessToken` the hub makes the hook at GitHub, mends it at each start, and removes it with the feed; this needs
//! `public_url` in the hub's configuration. What failed while the hub was away is found in GitHub's list and asked for again:
//! at each start, and every ten minutes. Without a token CREATE answers with the address and, once, the secret.

use serde_json::json;
use triggerfish_model::Timestamp;

use crate::github::delivery;
use crate::github::remote::Remote;
use crate::github::settings::Settings;
use crate::hook::{HookError, HookKeeper, HookOutcome, HookPath, HookProvider, HookRequest};
use crate::provider::{FeedContext, FeedError, ParamError};

use super::Feed;

struct Github;

pub(super) fn feed() -> Feed {
    let example = json!({
        "repository": "octocat/Hello-World", "accessToken": "ghp_example", "events": "push", "secret": "a long random text",
    });
    Feed::kept(Github, "Fires on what happens in a repository at GitHub", example)
}

impl HookProvider for Github {
    type Params = Settings;

    fn action(&self) -> (&'static str, &'static str) {
        ("github", "webhook")
    }

    fn path(&self) -> HookPath {
        HookPath::Github
    }

    /// They were checked when they were read.
    fn check(&self, _params: &Settings, _now: Timestamp) -> Result<(), ParamError> {
        Ok(())
    }

    fn makes_secret(&self) -> bool {
        true
    }

    fn on_hook(
        &self,
        settings: &Settings,
        request: &HookRequest,
        event_bytes_max: usize,
    ) -> Result<HookOutcome, HookError> {
        delivery::read(settings, request, event_bytes_max)
    }
}

impl HookKeeper for Github {
    type Remote = Remote;

    fn remote(&self, settings: &Settings, context: &FeedContext) -> Result<Option<Remote>, FeedError> {
        settings.place.as_ref().map(|place| Remote::new(place, settings, context)).transpose()
    }

    fn keeps(&self, settings: &Settings) -> Option<String> {
        settings.place.as_ref().map(|place| place.repository.to_string())
    }
}
