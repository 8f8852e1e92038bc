//! Chunks: where they lie, and what the typed client would not send.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream;
use registry_client::known::artifact_type;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::{
    Artifact, CreateArtifactRequest, FindMissingChunksRequest, UploadChunksRequest, UploadChunksResponse,
    UploadMetadata,
};
use registry_client::{Error, RegistryClient};
use registry_common::chunks::{self, Chunk};
use tonic::transport::Channel;

use crate::{TestServer, store};

/// Where bytes are cut.
pub fn cut(bytes: impl Into<Bytes>) -> Vec<Bytes> {
    let mut rest = bytes.into();
    let mut cut = Vec::new();
    while let Some(length) = chunks::first(&rest, true) {
        cut.push(rest.split_to(length));
    }
    cut
}

/// Which chunks some pieces are.
pub fn of(pieces: &[Bytes]) -> Vec<Chunk> {
    pieces.iter().map(|piece| Chunk::of(piece)).collect()
}

/// The file in which a chunk of a namespace lies.
pub fn file(storage: &Path, namespace: &str, chunk: &Chunk) -> PathBuf {
    let hex = chunk.hex();
    storage.join("artifacts/chunks").join(namespace).join(&hex[..2]).join(hex)
}

/// The files in which the chunks of an artifact lie, in order; in a storage folder that may be another server's.
///
/// # Panics
/// If the registry has no such artifact.
pub async fn files(client: &RegistryClient, storage: &Path, artifact: &str) -> Vec<PathBuf> {
    let name = client.get_artifact(artifact).await.unwrap().name;
    let namespace = name.split('/').nth(1).expect("a name has a namespace");
    listed(client, artifact).await.iter().map(|chunk| file(storage, namespace, chunk)).collect()
}

/// The chunks of an artifact, in order.
///
/// # Panics
/// If the registry has no such artifact.
pub async fn listed(client: &RegistryClient, artifact: &str) -> Vec<Chunk> {
    let chunk = |message| Chunk::from_message(&message).expect("it is a chunk");
    client.list_chunks(artifact).stream().map_ok(chunk).try_collect().await.unwrap()
}

/// All chunks that are stored in a folder, of whatever namespace and artifact, under each of their names.
pub fn all(storage: &Path) -> Vec<PathBuf> {
    let mut found = crate::files(&storage.join("artifacts/chunks"));
    found.retain(|path| path.file_name().is_some_and(|name| is_whole(&name.to_string_lossy())));
    found
}

/// All chunks that a server which works on a folder has stored, wherever it keeps them: `NAMESPACE/HEX`.
pub async fn stored(storage: &Path) -> BTreeSet<String> {
    let paths: Vec<String> = match store::artifacts(storage) {
        Some(bucket) => bucket.objects().await,
        None => all(storage).iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    };
    // .../chunks/NAMESPACE/HH/HEX
    let name = |path: String| {
        let [.., folder, namespace, _, hex] = path.split('/').collect::<Vec<_>>()[..] else { return None };
        (folder == "chunks" && is_whole(hex)).then(|| format!("{namespace}/{}", &hex[..64]))
    };
    paths.into_iter().filter_map(name).collect()
}

/// While a chunk is being written its name has a `#` in it. Behind a sweep that was given up, it ends with that sweep's number.
fn is_whole(name: &str) -> bool {
    name.len() == 64 || (name.as_bytes().get(64) == Some(&b'.') && !name.contains('#'))
}

/// `ArtifactService` of a server.
pub fn service(server: &TestServer) -> ArtifactServiceClient<Channel> {
    ArtifactServiceClient::new(server.channel())
}

/// A message that says nothing but for which version, and which upload, the chunks are.
pub fn first(parent: &str, upload_id: &str) -> UploadChunksRequest {
    UploadChunksRequest { parent: parent.to_owned(), upload_id: upload_id.to_owned(), ..Default::default() }
}

/// A message with a chunk.
pub fn message(position: usize, bytes: &Bytes) -> UploadChunksRequest {
    let blake3 = Bytes::copy_from_slice(&Chunk::of(bytes).blake3);
    UploadChunksRequest { position: position as i32, blake3, data: bytes.clone(), ..Default::default() }
}

/// Sends messages on one stream.
///
/// # Errors
/// What the server says.
pub async fn send(server: &TestServer, messages: Vec<UploadChunksRequest>) -> Result<UploadChunksResponse, Error> {
    Ok(service(server).upload_chunks(stream::iter(messages)).await?.into_inner())
}

/// Which pieces the namespace of a version lacks, by their places.
///
/// # Errors
/// What the server says.
pub async fn missing(server: &TestServer, parent: &str, pieces: &[Bytes]) -> Result<Vec<i32>, Error> {
    let blake3 = of(pieces).iter().map(|chunk| Bytes::copy_from_slice(&chunk.blake3)).collect();
    let request = FindMissingChunksRequest { parent: parent.to_owned(), blake3 };
    Ok(service(server).find_missing_chunks(request).await?.into_inner().missing)
}

/// An artifact of type `model`, as a request has it.
pub fn given(path: &str) -> Artifact {
    Artifact { path: path.to_owned(), r#type: artifact_type::MODEL.to_owned(), ..Default::default() }
}

/// The announcement of bytes that are uploaded to a path.
pub fn metadata(parent: &str, path: &str, bytes: &[u8]) -> UploadMetadata {
    let artifact = Artifact { sha256: crate::sha256(bytes), ..given(path) };
    UploadMetadata { parent: parent.to_owned(), artifact: Some(artifact), ..Default::default() }
}

/// A request for an artifact of chunks.
pub fn create_of(parent: &str, path: &str, pieces: &[Bytes]) -> CreateArtifactRequest {
    CreateArtifactRequest {
        parent: parent.to_owned(),
        artifact: Some(given(path)),
        chunks: of(pieces).into_iter().map(Chunk::to_message).collect(),
        ..Default::default()
    }
}

/// Makes an artifact.
///
/// # Errors
/// What the server says.
pub async fn create(server: &TestServer, request: CreateArtifactRequest) -> Result<Artifact, Error> {
    Ok(service(server).create_artifact(request).await?.into_inner())
}
