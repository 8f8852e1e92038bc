//! When the past is not to be had.

use std::time::{Duration, SystemTime};

use registry_client::Error;
use registry_client::pb::{ErrorReason, GetModelRequest, GetVersionRequest, ListModelsRequest};
use registry_tests::{TestServer, model, ready};
use tonic::Code;

const MODEL: &str = "models/fraud";

#[track_caller]
fn assert_refused<T>(read: Result<T, Error>, code: Code, reason: ErrorReason, says: &str) {
    let error = read.err().expect("it is refused");
    assert_eq!((error.code(), error.reason()), (Some(code), Some(reason)), "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn what_has_not_come_yet_and_what_says_nothing_clear_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model(&client, MODEL).await;
    let version = ready(&client, MODEL).await;
    let newest = version.revision;

    let (code, unknown) = (Code::OutOfRange, ErrorReason::RevisionUnknown);
    let later = newest + 1;
    let says = format!("revision {later} has not come yet: the newest is {newest}");
    assert_refused(client.get_model(MODEL).at_revision(later).await, code, unknown, &says);
    assert_refused(client.list_versions(MODEL).at_revision(i64::MAX).await, code, unknown, "has not come yet");
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    assert_refused(client.get_version(&version.name).at_time(tomorrow).await, code, unknown, "has not come yet: it is");

    // All fields at fault at once; and which of two moments is meant, nobody knows.
    let (code, invalid) = (Code::InvalidArgument, ErrorReason::FieldInvalid);
    let both = client.get_model(MODEL).at_revision(newest).at_time(SystemTime::now()).await;
    assert_refused(both, code, invalid, "read_time: can't be given with `revision`");
    let negative = client.list_models().at_revision(-1).order_by("size").await;
    assert_refused(negative, code, invalid, "; revision: must not be negative");
    let by_age = client.list_models().order_by("create_time").at_revision(newest).await;
    assert_refused(by_age, code, invalid, "order_by: a list of the past is in the order of name");
    let by_metric = client.list_versions(MODEL).order_by("metrics.test.auc desc").at_revision(newest).await;
    assert_refused(by_metric, code, invalid, "order_by: a list of the past is in the order of number");
    let counted = ListModelsRequest { revision: newest, count: true, explain: true, ..Default::default() };
    let says = "count: a list of the past is neither counted nor explained; explain: ";
    assert_refused(client.call(counted).await, code, invalid, says);
    let late = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let get = GetVersionRequest { name: version.name.clone(), read_time: Some(late), ..Default::default() };
    assert_refused(client.call(get).await, code, invalid, "read_time: must be in the years 1 to 9999");

    // Before the first revision there was nothing; before the model there was none of its versions.
    let (code, missing) = (Code::NotFound, ErrorReason::ResourceNotFound);
    let before = |time: Option<prost_types::Timestamp>| {
        let time: SystemTime = time.unwrap().try_into().unwrap();
        time - Duration::from_nanos(1)
    };
    let says = format!("namespaces/default/{MODEL} did not exist then");
    assert_refused(client.get_model(MODEL).at_time(before(made.create_time)).await, code, missing, &says);
    let get = client.get_version(&version.name).at_time(before(version.create_time)).await;
    let says = format!("{} did not exist at revision {}", version.name, version.revision - 1);
    assert_refused(get, code, missing, &says);
    let list = client.list_versions(MODEL).at_revision(made.revision).await.unwrap();
    assert_eq!((list.versions.len(), list.next_page_token.as_str()), (0, ""));
    assert_refused(client.list_models().parent("namespaces/risk").at_revision(1).await, code, missing, "risk");
}

#[tokio::test]
async fn pages_of_a_time_are_of_one_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    let names = ["models/a", "models/b", "models/c"];
    for name in names {
        model(&client, name).await;
    }
    let newest = client.status().await.unwrap().revision;
    // This moment may last: what is committed within it would belong to it, too.
    let now = client.get_model("models/c").await.unwrap().create_time.unwrap();
    let list = || ListModelsRequest { page_size: 1, read_time: Some(now), ..Default::default() };
    let first = client.call(list()).await.unwrap();
    assert_eq!(first.models[0].revision, newest - 2);
    for name in names {
        client.delete_model(name).await.unwrap();
    }
    let mut page_token = first.next_page_token;
    let mut rest = Vec::new();
    while !page_token.is_empty() {
        let page = client.call(ListModelsRequest { page_token, ..list() }).await.unwrap();
        rest.extend(page.models.into_iter().map(|model| (model.name, model.delete_time)));
        page_token = page.next_page_token;
    }
    assert_eq!(
        rest,
        [("namespaces/default/models/b".to_owned(), None), ("namespaces/default/models/c".to_owned(), None)]
    );

    // A token is of the list that it came from; a forged one is no way into the future.
    let (code, invalid) = (Code::InvalidArgument, ErrorReason::PageTokenInvalid);
    let token = client.call(list()).await.unwrap().next_page_token;
    let other = ListModelsRequest { page_token: token, page_size: 1, revision: 2, ..Default::default() };
    assert_refused(client.call(other).await, code, invalid, "page_token");
    let today = client.call(GetModelRequest { name: "models/a".to_owned(), ..Default::default() }).await.unwrap();
    assert!(today.delete_time.is_some());
}
