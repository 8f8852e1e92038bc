//! The Model Registry service.
//!
//! A call passes through `layers` (how many, how long), a handler in `grpc` (convert, call, convert back), the
//! [`registry`] (read, decide), the pure `rules`, and the [`store`]'s lane (state and event in one commit); then the
//! head moves and watchers wake.

/// The target of the spans that make traces: calls, and what they lead to.
pub const SPANS: &str = "registry_server::spans";

mod about;
pub mod backup;
mod bootstrap;
pub mod chunks;
pub mod claiming;
pub mod config;
mod connections;
pub mod encryption;
pub mod error;
mod gc;
mod grpc;
pub mod init;
mod layers;
mod metrics;
pub mod owners;
pub mod places;
pub mod registry;
mod room;
mod rules;
mod search;
pub mod server;
pub mod settings;
mod status;
pub mod store;
pub mod stored;
pub mod stores;
pub mod tls;
mod vital;
mod webhooks;
