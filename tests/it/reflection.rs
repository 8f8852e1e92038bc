//! What the server says of itself.

use futures::StreamExt as _;
use futures::stream;
use registry_tests::TestServer;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn reflection_describes_the_contract_and_not_what_the_store_keeps() {
    let server = TestServer::start().await;
    for (symbol, expected) in [
        ("modelregistry.v1.Model", true),
        ("modelregistry.v1.ModelService", true),
        ("modelregistry.store.v1.ModelRecord", false),
        ("modelregistry.store.v1.BackupFrame", false),
    ] {
        assert_eq!(described(&server, MessageRequest::FileContainingSymbol(symbol.into())).await, expected, "{symbol}");
    }
    for (file, expected) in [("modelregistry/v1/models.proto", true), ("modelregistry/store/v1/records.proto", false)] {
        assert_eq!(described(&server, MessageRequest::FileByFilename(file.into())).await, expected, "{file}");
    }
}

async fn described(server: &TestServer, question: MessageRequest) -> bool {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(server.channel());
    // A question without an answer ends the stream.
    let Ok(answers) = client.server_reflection_info(stream::iter([request])).await else { return false };
    let answer = answers.into_inner().next().await.unwrap();
    answer.is_ok_and(|answer| matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))))
}
