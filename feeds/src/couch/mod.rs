//! The changes of a database that speaks CouchDB's protocol: what `cloudant/changes` runs on.
//!
//! [`Settings`] are the parameters, read; `database` asks; `lines` cuts the continuous
//! answer into changes; [`Connection`] drives. A crash
//! loses nothing: the sequence behind a batch is written with its events, and the feed goes on after it.

mod connection;
mod database;
mod lines;
mod settings;

pub(crate) use connection::{Connection, Cursor};
pub(crate) use settings::{Given, Settings};
