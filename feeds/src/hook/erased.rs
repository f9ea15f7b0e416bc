//! Webhook providers without their types.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use triggerfish_model::{JsonObject, Timestamp};

use crate::catalogue::read;
use crate::provider::ParamError;

use super::{HookError, HookMethod, HookOutcome, HookPath, HookProvider, HookReason, HookRequest};

/// A [`HookProvider`] over JSON.
pub(crate) trait DynHook: Send + Sync {
    fn path(&self) -> HookPath;
    fn makes_secret(&self) -> bool;
    fn check(&self, params: &JsonObject, now: Timestamp) -> Result<(), ParamError>;
    /// The parameters, read once for all requests of a feed.
    fn open(&self, params: &JsonObject) -> Result<Box<dyn OpenHook>, ParamError>;
}

/// A webhook of certain parameters.
pub(crate) trait OpenHook: Send + Sync {
    fn methods(&self) -> Vec<HookMethod>;
    fn on_hook(&self, request: &HookRequest, event_bytes_max: usize) -> Result<HookOutcome, HookError>;
}

/// A [`HookProvider`] with its parameters.
struct Opened<P: HookProvider> {
    provider: Arc<P>,
    params: P::Params,
}

impl<P: HookProvider> OpenHook for Opened<P> {
    fn methods(&self) -> Vec<HookMethod> {
        self.provider.methods(&self.params)
    }

    /// A mapping that panics has failed, and takes nothing with it.
    fn on_hook(&self, request: &HookRequest, event_bytes_max: usize) -> Result<HookOutcome, HookError> {
        let map = || self.provider.on_hook(&self.params, request, event_bytes_max);
        catch_unwind(AssertUnwindSafe(map)).unwrap_or_else(|_| {
            let text = "the webhook's mapping broke off: this is a fault of the hub";
            Err(HookError::new(HookReason::Fault, text))
        })
    }
}

/// A [`HookProvider`] that its opened hooks share.
pub(crate) struct Shared<P>(pub(crate) Arc<P>);

impl<P: HookProvider> DynHook for Shared<P> {
    fn path(&self) -> HookPath {
        self.0.path()
    }

    fn makes_secret(&self) -> bool {
        self.0.makes_secret()
    }

    fn check(&self, params: &JsonObject, now: Timestamp) -> Result<(), ParamError> {
        self.0.check(&read(params)?, now)
    }

    fn open(&self, params: &JsonObject) -> Result<Box<dyn OpenHook>, ParamError> {
        Ok(Box::new(Opened { provider: self.0.clone(), params: read(params)? }))
    }
}
