//! Changes that build on what is there, while others change it too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use registry_client::pb;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::Fake;

#[tokio::test]
async fn an_edit_is_made_again_until_nobody_else_was_faster() {
    let there =
        Arc::new(Mutex::new(pb::Model { name: "namespaces/default/models/fraud".into(), ..Default::default() }));
    let (read, updated) = (Arc::clone(&there), Arc::clone(&there));
    let conflicts = AtomicUsize::new(0);
    let fake = Fake::default()
        .on(move |request: Request<pb::GetModelRequest>| {
            assert_eq!(request.into_inner().name, "models/fraud");
            Ok(read.lock().unwrap().clone())
        })
        .on(move |request: Request<pb::UpdateModelRequest>| {
            let pb::UpdateModelRequest { model, update_mask, .. } = request.into_inner();
            let (model, mut there) = (model.unwrap(), updated.lock().unwrap());
            // Twice, somebody else sets a tag in between.
            let number = conflicts.fetch_add(1, Ordering::Relaxed);
            if number < 2 {
                there.etag = format!("e{number}");
                there.tags.insert(format!("theirs{number}"), String::new());
            }
            if model.etag != there.etag {
                let details = ErrorDetails::with_error_info("ETAG_MISMATCH", "modelregistry.dev", []);
                return Err(Status::with_error_details(Code::Aborted, "changed", details));
            }
            assert_eq!(update_mask.unwrap().paths, ["tags"]);
            there.tags = model.tags;
            Ok(there.clone())
        });
    let client = fake.client().await;
    let tag = |model: &mut pb::Model| drop(model.tags.insert("mine".to_owned(), "1".to_owned()));
    let tagged = client.edit("fraud", tag).await.unwrap();
    assert_eq!(tagged.tags.keys().collect::<Vec<_>>(), ["mine", "theirs0", "theirs1"]);
    let again = client.edit("fraud", tag).await.unwrap();
    assert_eq!(again, tagged, "what is like that already is not changed");
    // Whoever names an etag means this state and no other.
    let error = client.edit("fraud", |model: &mut pb::Model| model.tags.clear()).etag("e0").await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}");
}
