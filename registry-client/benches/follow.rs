//! What it costs to ask a follower for its model: `cargo bench -p registry-client`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::stream::{self, StreamExt as _};
use registry_client::pb;
use registry_client::pb::watch_events_response::Response;
use tokio::runtime::Runtime;
use tonic::Request;

use fake::{Answers, Fake};

#[path = "../tests/it/fake.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod fake;

/// A registry with one version, without files, where nothing happens.
fn registry() -> Fake {
    let version = || pb::Version {
        name: "namespaces/default/models/m/versions/1".to_owned(),
        uid: "0193a8f0-0000-7000-8000-000000000001".to_owned(),
        state: pb::VersionState::Ready.into(),
        ..Default::default()
    };
    Fake::default()
        .on(move |_: Request<pb::BatchGetVersionsRequest>| {
            Ok(pb::BatchGetVersionsResponse { versions: vec![version()] })
        })
        .on(move |_: Request<pb::GetVersionRequest>| Ok(version()))
        .on(|_: Request<pb::ListArtifactsRequest>| Ok(pb::ListArtifactsResponse::default()))
        .on(|_: Request<pb::WatchEventsRequest>| {
            let created = Response::Created(pb::WatchCreated { revision: 1, ..Default::default() });
            let created = Ok(pb::WatchEventsResponse { response: Some(created) });
            let answers: Answers<_> = stream::iter([created]).chain(stream::pending()).boxed();
            Ok(answers)
        })
}

fn current(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let followed = runtime.block_on(async {
        let client = registry().client().await;
        let follower = client.follow("m@production").load(|_, version| Ok::<_, String>(version.number));
        follower.cache(cache.path()).start().await.unwrap()
    });
    criterion.bench_function("current", |bencher| bencher.iter(|| black_box(followed.current()).model));
}

criterion_group!(benches, current);
criterion_main!(benches);
