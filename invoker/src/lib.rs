//! The invoker of Triggerfish: container pool, container factories, the /init-/run protocol, language runtimes.
//!
//! Only this crate touches containers. What it decides is a pure machine (`pool`); what it does is behind
//! [`ContainerFactory`].

pub mod traits;

pub use traits::*;
