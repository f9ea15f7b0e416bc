//! The invoker of Triggerfish: container pool, container factories, the /init-/run protocol, language runtimes.
//!
//! Only this crate touches containers. What it decides is a pure machine ([`pool`]); what it does is behind
//! [`ContainerFactory`].

mod capture;
mod interpret;
mod invoker;
mod message;
mod oci;
pub mod pool;
mod session;
pub mod traits;

pub use invoker::Invoker;
pub use oci::OciFactory;
pub use traits::*;
