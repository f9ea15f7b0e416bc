//! Web feeds (RSS, Atom, JSON Feed) by polling: what `rss/feed` runs on.
//!
//! [`Settings`] are the parameters, read; [`fetch`](fetch) asks the server; [`document`](document) reads the answer into
//! entries; [`news`](news) decides which of them are new, against what the [`Cursor`] remembers; [`Connection`] drives.
//!
//! A crash loses nothing: the entries of a document become known in the same write that makes them durable, and only with
//! the last of them does the cursor take over the server's validators, so that a document that was not finished comes again.

mod connection;
mod cursor;
mod document;
mod fetch;
mod guard;
mod news;
mod settings;

pub(crate) use connection::Connection;
pub(crate) use cursor::Cursor;
pub(crate) use settings::{Given, Settings};
