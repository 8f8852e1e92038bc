//! What `grpcurl` prints of calls that the documentation makes with it, by the same contract and without the program, which not every
//! machine has.

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use registry_client::rpc::Unary;
use registry_client::{RegistryClient, pb};
use registry_tests::process::ServerProcess;
use serde::Serialize as _;

/// What such commands begin with.
pub(crate) const GRPCURL: &str = "grpcurl ";

/// Makes the call of a command, and says what it prints.
pub(crate) fn grpcurl(server: &ServerProcess, command: &str) -> String {
    let parts = command.strip_prefix("grpcurl -plaintext -d '").and_then(|rest| rest.split_once("' 127.0.0.1:50051 "));
    let (json, method) = parts.unwrap_or_else(|| panic!("read how a command is written here: {command}"));
    let (service, name) = method.split_once('/').unwrap();
    let pool = DescriptorPool::decode(registry_proto::DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name(service).unwrap_or_else(|| panic!("{command}"));
    let method = service.methods().find(|method| method.name() == name).unwrap_or_else(|| panic!("{command}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoint = server.endpoint();
    match name {
        "GetVersion" => runtime.block_on(call::<pb::GetVersionRequest>(endpoint, &method, json)),
        "ListVersions" => runtime.block_on(call::<pb::ListVersionsRequest>(endpoint, &method, json)),
        "SearchResources" => runtime.block_on(call::<pb::SearchResourcesRequest>(endpoint, &method, json)),
        "CountVersions" => runtime.block_on(call::<pb::CountVersionsRequest>(endpoint, &method, json)),
        "AggregateMetric" => runtime.block_on(call::<pb::AggregateMetricRequest>(endpoint, &method, json)),
        _ => panic!("add {name} here"),
    }
}

async fn call<R: Unary>(endpoint: String, method: &MethodDescriptor, json: &str) -> String {
    let request = DynamicMessage::deserialize(method.input(), &mut serde_json::Deserializer::from_str(json)).unwrap();
    let client = RegistryClient::connect(endpoint).await.unwrap();
    let answer = client.call(request.transcode_to::<R>().unwrap()).await.unwrap();
    let mut dynamic = DynamicMessage::new(method.output());
    dynamic.transcode_from(&answer).unwrap();
    let mut printed = Vec::new();
    dynamic.serialize(&mut serde_json::Serializer::pretty(&mut printed)).unwrap();
    String::from_utf8(printed).unwrap()
}
