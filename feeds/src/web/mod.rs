//! HTTP to servers that users name: which addresses are asked, and what an error may say.
//!
//! A name is resolved, each of its addresses is checked, and a checked one is connected to: there is no second look-up that
//! could answer something else. Redirects are not followed here; whoever follows one checks it like a first request. The
//! environment's proxies are not used, since it would be they who resolve the name.

mod address;

pub use address::PrivateAllowed;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::provider::FeedError;

/// How long a connection may take; a server that is up answers a handshake in less.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an unused connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// What the hub calls itself.
const USER_AGENT: &str = concat!("triggerfish/", env!("CARGO_PKG_VERSION"));

/// Asks servers that users name.
#[derive(Clone)]
pub struct Web {
    allowed: Arc<PrivateAllowed>,
    guarded: reqwest::Client,
    open: reqwest::Client,
}

impl Web {
    /// One that asks public addresses and those `allowed`.
    pub fn new(allowed: PrivateAllowed) -> Self {
        let builder = || {
            reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_MAX)
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(1)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
        };
        let build =
            |builder: reqwest::ClientBuilder| builder.build().expect("the client needs nothing from outside");
        let allowed = Arc::new(allowed);
        let guarded = build(builder().dns_resolver(Arc::new(Guarded(allowed.clone()))));
        // What is packed is held back until there is enough of it, and an answer that never ends has to come as it is made.
        Self { allowed, guarded, open: build(builder().no_gzip()) }
    }

    /// A client for `url`, which asks permitted addresses alone.
    pub(crate) fn client(&self, url: &Url) -> Result<&reqwest::Client, FeedError> {
        // Only names come to the resolver.
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(FeedError::Invalid(format!("`{}` names no host", shown(url)))),
        };
        match address.filter(|address| !self.allowed.permits(*address)) {
            Some(address) => Err(FeedError::Refused(format!("`{}`: {}", shown(url), Private(address)))),
            None => Ok(&self.guarded),
        }
    }

    /// A client that asks any address: for databases and brokers, which are in their operator's network as a rule.
    pub(crate) fn anywhere(&self) -> &reqwest::Client {
        &self.open
    }
}

impl Default for Web {
    fn default() -> Self {
        Self::new(PrivateAllowed::default())
    }
}

/// Resolves names to permitted addresses.
struct Guarded(Arc<PrivateAllowed>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One is enough: which of them is connected to is the server's choice by then.
            if let Some(private) = found.iter().find(|address| !allowed.permits(address.ip())) {
                return Err(Private(private.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// An address that is not asked.
#[derive(Debug, thiserror::Error)]
#[error("{0} is a private address, which is fetched from only where `feeds.private_allowed` has it")]
struct Private(IpAddr);

/// A URL as it may be shown: without user, password and query, any of which may hold a secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Refused for URLs that have no host, and they have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    url.set_fragment(None);
    url.to_string().replace("%E2%80%A6", "…")
}

/// What became of a request that has no answer, or a broken one.
pub(crate) fn failure(url: &Url, error: &reqwest::Error) -> FeedError {
    let mut source = error.source();
    let mut last = None;
    while let Some(cause) = source {
        if let Some(private) = cause.downcast_ref::<Private>() {
            return FeedError::Refused(format!("`{}`: {private}", shown(url)));
        }
        last = Some(cause.to_string());
        source = cause.source();
    }
    let what = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        // The outer texts repeat the URL as it is, and say less than the innermost.
        last.unwrap_or_else(|| "the answer broke off".to_owned())
    };
    FeedError::Unavailable(format!("`{}`: {what}", shown(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let show = |text: &str| shown(&text.parse().unwrap());
        assert_eq!(show("https://ann:geheim@a.example/feed?key=geheim#x"), "https://a.example/feed?…");
        assert_eq!(show("http://a.example:81/feed"), "http://a.example:81/feed");
    }

    #[tokio::test]
    async fn names_and_literals_that_lead_inside_are_refused() {
        let web = Web::default();
        let fetch = async |text: &str| {
            let url: Url = text.parse().unwrap();
            let client = web.client(&url)?;
            client.get(url.clone()).send().await.map(drop).map_err(|error| failure(&url, &error))
        };
        // The last are other ways to write 127.0.0.1, which the URL standard reads as such.
        for url in [
            "http://localhost:1/",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://2130706433:1/",
            "http://0x7f.1:1/",
        ] {
            let Err(FeedError::Refused(text)) = fetch(url).await else { panic!("{url}") };
            assert!(text.contains("is a private address"), "{text}");
        }
        let allowed = Web::new(PrivateAllowed::parse(&["127.0.0.0/8", "::1"]).unwrap());
        let url: Url = "http://localhost:1/?key=geheim".parse().unwrap();
        let error = allowed.client(&url).unwrap().get(url.clone()).send().await.unwrap_err();
        let FeedError::Unavailable(text) = failure(&url, &error) else { panic!("{error}") };
        assert!(text.starts_with("`http://localhost:1/?…`: ") && text.contains("refused"), "{text}");
    }
}
