//! The protobuf contract of Model Registry.
//!
//! What the messages mean, which errors a call can end with and what the streams promise stands in the `.proto` files beside
//! this one, and from there in the documentation of [`v1`]. The rules that hold for every call are in
//! `proto/modelregistry/v1/common.proto`.

pub mod errors;
pub mod known;
pub mod resource;
pub mod rpc;

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]
mod tree {
    include!(concat!(env!("OUT_DIR"), "/tree.rs"));
}

/// `modelregistry.v1`: the interface.
pub use tree::modelregistry::v1;

/// The compiled descriptors of all files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The names of all services.
pub const SERVICES: &[&str] = include!(concat!(env!("OUT_DIR"), "/services.rs"));

/// The `domain` of every [`v1::ErrorReason`] in a `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "modelregistry.dev";
/// The request header that says who calls, in ASCII.
pub const ACTOR_HEADER: &str = "x-registry-actor";
/// The request header that says who calls, in UTF-8. It counts if both are given.
pub const ACTOR_BIN_HEADER: &str = "x-registry-actor-bin";
/// The request header that holds a mutation's request id if the field `request_id` is empty.
pub const REQUEST_ID_HEADER: &str = "x-registry-request-id";

#[cfg(test)]
mod annotated;
