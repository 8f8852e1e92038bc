//! JSON over HTTP for the service, on the port and through the layers of its gRPC.
//!
//! A request over HTTP becomes the bytes of a gRPC call, as the `google.api.http` annotations of the contract say it, and the call's answer
//! becomes JSON. So there is one way into the service, with its deadlines, limits, permissions and errors, whatever a caller speaks.

mod body;
mod refusal;
mod routes;
mod schema;
mod template;

use prost_reflect::DescriptorPool;

/// The package that is served.
const PACKAGE: &str = "modelregistry.v1";

/// The contract, and the details of errors.
fn pool() -> DescriptorPool {
    let mut pool = DescriptorPool::decode(registry_proto::DESCRIPTORS).expect("the contract is compiled");
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET).expect("the details of errors are compiled");
    pool
}

#[cfg(test)]
mod tests;
