//! GitHub: its deliveries, its API, and the hook that is kept there. `catalogue/github.rs` puts them together.

mod api;
pub(crate) mod delivery;
mod filter;
pub(crate) mod remote;
pub(crate) mod settings;
mod sweep;
