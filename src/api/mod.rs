//! The REST API: the OpenWhisk API under `/api/v1`, the hub's own additions to it, and the documents beside it.

pub mod backend;

pub use backend::Backend;
