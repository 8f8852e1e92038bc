//! Bytes by their digests: who knows these does not have those.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use registry_client::pb::{Artifact, CreateArtifactRequest, ErrorReason};
use registry_client::{Error, Progress, RegistryClient, Source};
use registry_common::chunks::Chunk;
use registry_common::possession::Possession;
use registry_tests::chunks::listed;
use registry_tests::{model, noise_of, pending};
use tonic::Code;

use super::{Secured, denied};

const SECRET: &str = "models/secret/versions/1";
const OWN: &str = "models/own/versions/1";
const PATH: &str = "model.bin";

/// Makes an artifact of chunks that are stored.
async fn claim(client: &RegistryClient, chunks: &[Chunk], proof: &[u8]) -> Result<Artifact, Error> {
    let artifact = Artifact { path: PATH.to_owned(), r#type: "other".to_owned(), ..Artifact::default() };
    let request = CreateArtifactRequest {
        parent: OWN.to_owned(),
        artifact: Some(artifact),
        chunks: chunks.iter().map(|chunk| chunk.to_message()).collect(),
        possession: proof.to_vec().into(),
        ..CreateArtifactRequest::default()
    };
    client.call(request).await
}

fn proof(parent: &str, bytes: &[u8]) -> [u8; 32] {
    let mut possession = Possession::new(parent, PATH);
    possession.add(bytes);
    possession.proof()
}

/// A model with an artifact, and one that another one may fill.
async fn prepared() -> (Secured, Vec<u8>, Vec<Chunk>) {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    for name in ["secret", "own"] {
        model(admin, name).await;
        pending(admin, &format!("models/{name}")).await;
    }
    let bytes = noise_of(1, 3 << 20);
    admin.upload(SECRET, PATH, bytes.clone()).await.unwrap();
    let chunks = listed(admin, &format!("{SECRET}/artifacts/{PATH}")).await;
    (secured, bytes, chunks)
}

#[tokio::test]
async fn who_knows_the_digests_of_bytes_does_not_get_them() {
    let (secured, bytes, chunks) = prepared().await;
    // An auditor reads of what an artifact consists, and no bytes.
    let ana = secured.user("users/ana", &[("auditor", ""), ("publisher", "models/own")]).await;
    denied(ana.download(format!("{SECRET}/artifacts/{PATH}")).bytes().await);

    for false_proof in [&[][..], &[7; 32], &proof(SECRET, &bytes), &proof(OWN, &bytes[1..])] {
        let error = claim(&ana, &chunks, false_proof).await.unwrap_err();
        let expected = (Some(Code::FailedPrecondition), Some(ErrorReason::PossessionUnproven));
        assert_eq!((error.code(), error.reason()), expected, "{error:?}");
    }
    let made = claim(&ana, &chunks, &proof(OWN, &bytes)).await.unwrap();
    assert_eq!(made.size_bytes, bytes.len() as i64);
}

#[tokio::test]
async fn who_has_the_bytes_need_not_send_them_again() {
    let (secured, bytes, chunks) = prepared().await;
    let ana = secured.user("users/ana", &[("publisher", "models/own")]).await;
    let bob = secured.user("users/bob", &[("publisher", "namespaces/default")]).await;

    let moved = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&moved);
    let report = move |progress: Progress| seen.store(progress.moved, Ordering::Relaxed);
    let made = ana.upload(OWN, "again.bin", bytes.clone()).progress(report).await.unwrap();
    assert_eq!((made.size_bytes, moved.load(Ordering::Relaxed)), (bytes.len() as i64, 0));
    // What can be read only once is proven at once.
    ana.upload(OWN, "once.bin", Source::reader(std::io::Cursor::new(bytes.clone()))).await.unwrap();
    // New bytes as well.
    let new = noise_of(3, 3 << 20);
    ana.upload(OWN, "new.bin", new.clone()).await.unwrap();
    assert_eq!(ana.download(format!("{OWN}/artifacts/new.bin")).bytes().await.unwrap(), new);
    claim(&bob, &chunks, &[]).await.expect("who may download all of the namespace proves nothing");
}
