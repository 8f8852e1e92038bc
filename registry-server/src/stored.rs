//! `modelregistry.store.v1`: the records, the log and the backups of a server, as bytes. No other program reads them.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/modelregistry.store.v1.rs"));
