//! One large artifact up and down, against bare streams of as many bytes.

use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use rand::Rng as _;
use registry_client::pb;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::upload_artifact_request::Request as Part;
use tonic::Request;
use tonic::transport::Channel;

use super::floor::{Blob, Codec, PIECE};
use super::load::median;
use super::{Figure, Setup};
use crate::Failure;

const ROUNDS: usize = 3;

/// Random bytes for `size`: the same piece again and again, which no part of the path notices.
fn pieces(size: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut piece = vec![0; PIECE];
    rand::rng().fill_bytes(&mut piece);
    let piece = Bytes::from(piece);
    (0..size.div_ceil(PIECE as u64)).map(move |_| piece.clone())
}

fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

pub(super) async fn transfer(setup: &Setup) -> Result<[Figure; 2], Failure> {
    let size = setup.options.artifact_mib * 1024 * 1024;
    let parent = setup.model("artifact").await?;
    let create = pb::CreateVersionRequest { parent, ..Default::default() };
    let mut versions = pb::version_service_client::VersionServiceClient::new(setup.registry(0));
    let version = versions.create_version(create).await?.into_inner().name;
    let (mut up, mut floor_up, mut down, mut floor_down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor_up.push(rate(size, bare_up(setup.floor(0), size)).await?);
        up.push(rate(size, upload(setup.registry(0), &version, round, size)).await?);
        floor_down.push(rate(size, bare_down(setup.floor(0), size)).await?);
        down.push(rate(size, download(setup.registry(0), &version, round)).await?);
    }
    let figure = |name: &str, value: Vec<f64>, floor: Vec<f64>| {
        let (value, floor) = (median(value), median(floor));
        let micros = size as f64 / value / 1.048_576;
        Figure {
            name: format!("artifact {name}, {} MiB", setup.options.artifact_mib),
            unit: "MiB/s",
            value,
            floor_name: "a bare tonic stream",
            floor,
            ratio: value / floor,
            target: None,
            p50_micros: micros,
            p99_micros: micros,
        }
    };
    Ok([figure("up", up, floor_up), figure("down", down, floor_down)])
}

/// MiB a second.
async fn rate(size: u64, transfer: impl Future<Output = Result<(), Failure>>) -> Result<f64, Failure> {
    let began = Instant::now();
    transfer.await?;
    Ok(size as f64 / (1024.0 * 1024.0) / began.elapsed().as_secs_f64())
}

async fn upload(channel: Channel, version: &str, round: usize, size: u64) -> Result<(), Failure> {
    let metadata = pb::UploadMetadata {
        parent: version.to_owned(),
        path: format!("{round}.bin"),
        r#type: pb::ArtifactType::Model.into(),
        size_bytes: Some(i64::try_from(size)?),
        ..Default::default()
    };
    let part = |part| pb::UploadArtifactRequest { request: Some(part) };
    let parts =
        std::iter::once(part(Part::Metadata(metadata))).chain(pieces(size).map(move |data| part(Part::Data(data))));
    ArtifactServiceClient::new(channel).upload_artifact(futures::stream::iter(parts)).await?;
    Ok(())
}

async fn download(channel: Channel, version: &str, round: usize) -> Result<(), Failure> {
    let name = format!("{version}/artifacts/{round}.bin");
    let request = pb::DownloadArtifactRequest { name, ..Default::default() };
    // A task of its own: on the main one, receiving is half as fast.
    let received = tokio::spawn(async move {
        let mut stream = ArtifactServiceClient::new(channel).download_artifact(request).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    });
    Ok(received.await??)
}

async fn bare_up(channel: Channel, size: u64) -> Result<(), Failure> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let stream = futures::stream::iter(pieces(size)).map(|data| Blob { data });
    client.client_streaming(Request::new(stream), path("/floor.Floor/Up"), Codec::default()).await?;
    Ok(())
}

async fn bare_down(channel: Channel, size: u64) -> Result<(), Failure> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let asked = Blob { data: Bytes::copy_from_slice(&size.to_be_bytes()) };
    let received = tokio::spawn(async move {
        let response =
            client.server_streaming(Request::new(asked), path("/floor.Floor/Down"), Codec::default()).await?;
        let mut stream: tonic::Streaming<Blob> = response.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    });
    Ok(received.await??)
}
