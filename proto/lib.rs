//! The protobuf contract of Model Registry.
//!
//! What the messages mean, which errors a call can end with and what the streams promise stands in the `.proto` files beside
//! this one, and from there in the documentation of [`v1`].

pub mod rpc;

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]
mod tree {
    include!(concat!(env!("OUT_DIR"), "/tree.rs"));
}

/// `modelregistry.v1`: the interface.
pub use tree::modelregistry::v1;

/// The compiled descriptors of all files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The `domain` of every [`v1::ErrorReason`] in a `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "modelregistry.v1";
/// The request header that says who calls.
pub const ACTOR_HEADER: &str = "x-registry-actor";
