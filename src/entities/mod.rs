//! What the API does with entities: validation, merging, compare-and-set writes, resolution.

pub mod resolve;
