//! Files as HTTP has them, up and down, against the same to and from a plain server of files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use registry_client::pb::CreateVersionRequest;
use registry_client::pb::version_service_client::VersionServiceClient;
use reqwest::{Body, Client, RequestBuilder};

use super::artifact::{MIB, in_thread, noise};
use super::floor::{FILE, PATH, read};
use super::load::median;
use super::{Figure, Setup, endpoints};
use crate::{Failure, Usage};

/// What the figures are measured against.
const FLOOR: &str = "a plain server of files";
/// What the registry should reach of it.
const TARGET: f64 = 0.75;

/// GET and PUT of a large file. Each round has a new one: nothing of it was sent before.
pub(super) async fn files(setup: &Arc<Setup>, endpoint: &str) -> Result<Vec<Figure>, Failure> {
    let registry = endpoints(endpoint)?.remove(0).uri().to_string();
    if !registry.starts_with("http://") {
        return Err(Usage("files are measured at http:// only".to_owned()).into());
    }
    let parent = setup.model("files").await?;
    let folder = tempfile::tempdir_in(std::path::absolute(&setup.options.scratch)?)?;
    let (new, copy) = (folder.path().join("new"), folder.path().join("copy"));
    let mib = setup.options.artifact_mib;
    let client = Client::builder().http1_only().no_proxy().build()?;
    let token = setup.bearer.0.clone();
    let bare = |request: RequestBuilder| request.header(PATH, &*copy.to_string_lossy());
    let ours = |request: RequestBuilder| match &token {
        Some(token) => request.header(AUTHORIZATION, token.as_bytes()),
        None => request,
    };
    let floor = format!("{}{FILE}", setup.floor_server.endpoint);
    let (mut up, mut bare_up, mut down, mut bare_down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.options.rounds {
        let made = new.clone();
        in_thread(move || noise(&made, mib * MIB)).await?;
        let create = CreateVersionRequest { parent: parent.clone(), ..Default::default() };
        let version = VersionServiceClient::new(setup.registry(0)).create_version(create).await?.into_inner().name;
        let file = format!("{}/v1/{version}/files/weights.bin", registry.trim_end_matches('/'));
        bare_up.push(rate(mib, with(bare(client.put(&floor)), &new)?).await?);
        up.push(rate(mib, with(ours(client.put(&file).query(&[("type", "model")])), &new)?).await?);
        bare_down.push(rate(mib, bare(client.get(&floor))).await?);
        down.push(rate(mib, ours(client.get(&file))).await?);
    }
    let figure = |what: &str, ours: Vec<f64>, floor: Vec<f64>| {
        let name = format!("{what} of {mib} MiB over HTTP/1.1");
        Figure::moved(&name, "MiB/s", median(ours), FLOOR, median(floor), Some(TARGET))
    };
    Ok(vec![figure("PUT", up, bare_up), figure("GET", down, bare_down)])
}

/// A request with a file.
fn with(request: RequestBuilder, file: &Path) -> Result<RequestBuilder, Failure> {
    let size = std::fs::metadata(file)?.len();
    Ok(request.header(CONTENT_LENGTH, size).body(Body::wrap_stream(read(file.to_owned()))))
}

/// How fast a file goes, in MiB a second.
async fn rate(mib: u64, request: RequestBuilder) -> Result<f64, Failure> {
    let began = Instant::now();
    // A task of its own: on the main one, receiving is half as fast.
    let sent = tokio::spawn(async move {
        let mut answer = request.send().await?;
        if !answer.status().is_success() {
            return Ok(Some(answer.text().await?));
        }
        while answer.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(None)
    });
    match sent.await?? {
        Some(refusal) => Err(refusal.into()),
        None => Ok(mib as f64 / began.elapsed().as_secs_f64()),
    }
}
