//! Calls with JSON over HTTP/1.1, against the same calls over gRPC.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use registry_client::pb;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::filling::fill;
use super::load::{Rate, in_turns, run};
use super::payload::{create_request, typical_version};
use super::{Channel, Figure, Setup, endpoints};
use crate::{Failure, Usage};

/// How many versions the model has that is listed, and a page of it.
const LISTED: u64 = 1000;
const PAGE: i32 = 100;
/// What the figures are measured against.
const FLOOR: &str = "the same over gRPC";
/// What JSON should reach of gRPC.
const TARGET: f64 = 0.6;

/// `GetVersion`, and a page of `ListVersions`.
pub(super) async fn json(setup: &Arc<Setup>, endpoint: &str) -> Result<Vec<Figure>, Failure> {
    let parent = setup.model("json").await?;
    let mut service = VersionServiceClient::new(setup.registry(0));
    let version = service.create_version(create_request(&parent, typical_version())).await?.into_inner();
    let get = pb::GetVersionRequest { name: version.name.clone(), ..Default::default() };
    let (path, clients) = (format!("/v1/{}", version.name), setup.options.clients);
    let call = move |channel| {
        let get = get.clone();
        async move { VersionServiceClient::new(channel).get_version(get).await.map(drop) }
    };
    let got = beside(setup, endpoint, format!("get-version as JSON, {clients} clients"), path, call).await?;

    let parent = setup.model("json-list").await?;
    fill(setup, std::slice::from_ref(&parent), LISTED).await?;
    let path = format!("/v1/{parent}/versions?pageSize={PAGE}");
    let list = pb::ListVersionsRequest { parent, page_size: PAGE, ..Default::default() };
    let call = move |channel| {
        let list = list.clone();
        async move { VersionServiceClient::new(channel).list_versions(list).await.map(drop) }
    };
    let name = format!("list-versions as JSON, {PAGE} of {LISTED}, {clients} clients");
    Ok(vec![got, beside(setup, endpoint, name, path, call).await?])
}

/// A path that is read, beside the call that reads the same.
async fn beside<F>(
    setup: &Arc<Setup>,
    endpoint: &str,
    name: String,
    path: String,
    call: impl Fn(Channel) -> F + Clone + Send + 'static,
) -> Result<Figure, Failure>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let uris = endpoints(endpoint)?
        .into_iter()
        .map(|endpoint| format!("{}{path}", endpoint.uri().to_string().trim_end_matches('/')));
    let uris: Arc<[_]> = uris.collect();
    if uris.iter().any(|uri| !uri.starts_with("http://")) {
        return Err(Usage("json is measured at http:// only".to_owned()).into());
    }
    let token = setup.bearer.0.as_ref().and_then(|token| token.to_str().ok().map(str::to_owned));
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (clients, time) = (setup.options.clients, setup.round());
    let ours = || {
        let (client, uris, token) = (client.clone(), Arc::clone(&uris), token.clone());
        run(clients, time, move |number, _| read(client.clone(), uris[number % uris.len()].clone(), token.clone()))
    };
    let floor = || {
        let (setup, call) = (Arc::clone(setup), call.clone());
        run(clients, time, move |client, _| call(setup.registry(client)))
    };
    let (ours, floor): (Rate, Rate) = in_turns(setup.options.rounds, ours, floor).await?;
    let figure = Figure::calls(name, ours, FLOOR, floor.per_second);
    Ok(Figure { target: Some(TARGET), ..figure })
}

/// Reads what is at a path, and all of the answer.
async fn read(client: Client<HttpConnector, Empty<Bytes>>, uri: String, token: Option<String>) -> Result<(), Status> {
    let mut request = Request::get(uri);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Empty::new()).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| Status::unavailable(error.to_string()))?.to_bytes();
    if status != StatusCode::OK {
        return Err(Status::unknown(String::from_utf8_lossy(&body)));
    }
    Ok(())
}
