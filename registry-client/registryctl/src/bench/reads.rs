//! Reads by many clients at once, against a bare tonic service that takes as many bytes and answers the same message from its memory.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use registry_client::pb;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::filling::fill;
use super::load::{in_turns, run};
use super::payload::{create_request, typical_version};
use super::{Channel, Figure, Setup, floor};
use crate::Failure;

/// How many versions the model has that is listed, and a page of it.
const LISTED: u64 = 1000;
const PAGE: i32 = 100;

/// `GetVersion`.
pub(super) async fn get(setup: &Arc<Setup>) -> Result<Figure, Failure> {
    let parent = setup.model("get").await?;
    let mut service = VersionServiceClient::new(setup.registry(0));
    let version = service.create_version(create_request(&parent, typical_version())).await?.into_inner();
    let request = pb::GetVersionRequest { name: version.name.clone(), ..Default::default() };
    let (name, asked) = (format!("get-version, {} clients", setup.options.clients), version.name.clone());
    let get = move |channel| {
        let request = request.clone();
        async move { VersionServiceClient::new(channel).get_version(request).await.map(drop) }
    };
    let figure = against_memory(setup, name, get, asked.into(), &version).await?;
    Ok(Figure { target: Some(0.85), ..figure })
}

/// A page of `ListVersions`.
pub(super) async fn list(setup: &Arc<Setup>) -> Result<Figure, Failure> {
    let parent = setup.model("list").await?;
    fill(setup, std::slice::from_ref(&parent), LISTED).await?;
    let asked = parent.clone().into();
    let request = pb::ListVersionsRequest { parent, page_size: PAGE, ..Default::default() };
    let page = VersionServiceClient::new(setup.registry(0)).list_versions(request.clone()).await?.into_inner();
    let name = format!("list-versions, {} of {LISTED}, {} clients", page.versions.len(), setup.options.clients);
    let list = move |channel| {
        let request = request.clone();
        async move { VersionServiceClient::new(channel).list_versions(request).await.map(drop) }
    };
    against_memory(setup, name, list, asked, &page).await
}

/// A call that reads against the floor, which takes what is `asked` and has the answer in its memory.
async fn against_memory<F, Answer>(
    setup: &Arc<Setup>,
    name: String,
    call: impl Fn(Channel) -> F + Clone + Send + 'static,
    asked: Bytes,
    answer: &Answer,
) -> Result<Figure, Failure>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
    Answer: Message + Default + 'static,
{
    floor::set(setup.floor(0), answer).await?;
    let (clients, time) = (setup.options.clients, setup.round());
    let ours = || {
        let (setup, call) = (Arc::clone(setup), call.clone());
        run(clients, time, move |client, _| call(setup.registry(client)))
    };
    let floor = || {
        let (setup, asked) = (Arc::clone(setup), asked.clone());
        run(clients, time, move |client, _| {
            floor::call::<Answer>(setup.floor(client), "/floor.Floor/Get", asked.clone())
        })
    };
    let (ours, floor) = in_turns(setup.options.rounds, ours, floor).await?;
    Ok(Figure::calls(name, ours, "bare tonic, the same message", floor.per_second))
}
