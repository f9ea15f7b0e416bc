//! The invoker of Triggerfish: container pool, container factories, the /init-/run protocol, language runtimes.
//!
//! Only this crate touches containers. What it decides is a pure machine ([`pool`]); what it does is behind
//! [`ContainerFactory`].

mod interpret;
mod invoker;
mod message;
pub mod pool;
pub mod traits;

pub use invoker::Invoker;
pub use traits::*;
