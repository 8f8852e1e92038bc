//! Two registries, and copies of one, at one place.

use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as Answer, path::Path as At,
};

use super::*;
use crate::registry::chain::tests::{History, history};
use crate::registry::kinds::LAYOUT;
use crate::store::sled::SledStore;

fn store(folder: &Path) -> SledStore {
    SledStore::open(folder, 1 << 20, &LAYOUT).unwrap()
}

/// A store with these revisions.
async fn filled(folder: &Path, history: History) -> SledStore {
    let store = store(folder);
    if !history.is_empty() {
        store.restore(history, true).await.unwrap();
    }
    store
}

/// The owner of a place, with its records where they are.
async fn owner(objects: &Arc<dyn ObjectStore>, store: &dyn Store) -> Owner {
    let folder = Folder::of(Arc::clone(objects));
    Owner::new(folder, Purpose::Artifacts, store.identity().await.unwrap(), false)
}

fn place() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A copy, as `cp -a` makes it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// An object store that takes a time to list and to put: each is one of five, and which is a digit of `times`.
fn slow(objects: &Arc<InMemory>, times: u64, list: u32, put: u32) -> Arc<dyn ObjectStore> {
    let time = |digit: u32| Duration::from_millis(times / 5_u64.pow(digit) % 5 * 2 + u64::from(digit % 2));
    let config = ThrottleConfig {
        wait_list_with_delimiter_per_call: time(list),
        wait_put_per_call: time(put),
        ..ThrottleConfig::default()
    };
    Arc::new(ThrottledStore::new(Arc::clone(objects), config))
}

#[tokio::test(start_paused = true)]
async fn of_two_registries_that_claim_a_place_at_once_never_both_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [store(&folder.path().join("one")), store(&folder.path().join("other"))];
    let (mut won, mut none) = (0, 0);
    // Every order of their steps is among them.
    for times in 0..5_u64.pow(4) {
        let objects = Arc::new(InMemory::new());
        let one = owner(&slow(&objects, times, 0, 1), &stores[0]).await;
        let other = owner(&slow(&objects, times, 2, 3), &stores[1]).await;
        let both = futures::future::join(one.enter(&stores[0]), other.enter(&stores[1])).await;
        match both {
            (Ok(_), Ok(_)) => panic!("{times}"),
            (Err(_), Err(_)) => none += 1,
            _ => won += 1,
        }
        // Behind the race as well: whoever lost and left a claim stops the other one, in words.
        let checked = (one.check(&stores[0]).await, other.check(&stores[1]).await);
        assert!(checked.0.is_err() || checked.1.is_err(), "{times}");
    }
    assert!(won > 0 && none > 0, "{won} won, {none} times nobody");
}

#[tokio::test]
async fn servers_of_one_registry_claim_a_place_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let objects = place();
    let ids = [owner(&objects, &store).await.enter(&store).await, owner(&objects, &store).await.enter(&store).await];
    assert_eq!(ids[0].as_ref().unwrap(), ids[1].as_ref().unwrap());
    assert_eq!(Listed::of(&Folder::of(objects)).await.unwrap().claims.len(), 1);
}

#[tokio::test]
async fn a_place_that_a_registry_never_used_is_claimed_by_hand_only() {
    let folder = tempfile::tempdir().unwrap();
    let used = filled(&folder.path().join("used"), history(&[], "ana", 3)).await;
    let new = store(&folder.path().join("new"));
    let objects = place();
    let entered = owner(&objects, &used).await.enter(&used).await.unwrap_err().to_string();
    assert!(entered.contains("never used by this registry, which is at revision 3"), "{entered}");
    assert!(entered.contains("registry-server claim") && entered.contains("--artifacts"), "{entered}");
    // What is in it may be somebody's.
    let chunk = Folder::of(Arc::clone(&objects));
    chunk.put(&chunk.path(["chunks", "default", "ab", "abcd"]), Bytes::from_static(b"chunk").into()).await.unwrap();
    let entered = owner(&objects, &new).await.enter(&new).await.unwrap_err().to_string();
    assert!(entered.contains("nothing says whose it is"), "{entered}");

    let by_hand = owner(&objects, &used).await;
    assert_eq!(by_hand.take(Uuid::now_v7(), &used).await.unwrap(), Former { claims: Vec::new(), running: false });
    by_hand.check(&used).await.unwrap();
    owner(&objects, &used).await.enter(&used).await.unwrap();
    let entered = owner(&objects, &new).await.enter(&new).await.unwrap_err();
    assert!(matches!(entered, OwnerError::Taken { .. }), "{entered}");
}

#[tokio::test]
async fn a_copy_is_refused_until_somebody_says_that_it_is_the_one_and_then_the_original_is() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let objects = place();
    let store_ = store(&first);
    owner(&objects, &store_).await.enter(&store_).await.unwrap();
    drop(store_);
    copy(&first, &second);
    let (original, copied) = (store(&first), store(&second));
    assert_eq!(original.identity().await.unwrap(), copied.identity().await.unwrap());
    let (ours, theirs) = (owner(&objects, &original).await, owner(&objects, &copied).await);
    let refused = theirs.enter(&copied).await.unwrap_err();
    assert!(matches!(refused, OwnerError::Copy { .. }), "{refused}");
    assert!(refused.to_string().contains(first.to_str().unwrap()), "{refused}");
    ours.check(&original).await.unwrap();

    let before = theirs.take(Uuid::now_v7(), &copied).await.unwrap().claims;
    assert!(before.len() == 1 && before[0].contains(first.to_str().unwrap()), "{before:?}");
    theirs.check(&copied).await.unwrap();
    for refused in [ours.check(&original).await, ours.enter(&original).await] {
        assert!(matches!(refused, Err(OwnerError::Copy { .. })), "{refused:?}");
    }
}

/// Owners that nothing but the past tells apart, as of a copied machine: each with the store of its past.
async fn clones(folder: &Path, pasts: [History; 2]) -> [(Owner, SledStore); 2] {
    let folder_of = Folder::of(place());
    let registry = Uuid::now_v7();
    let of = |name: &str| folder.join(name);
    let [one, other] = pasts;
    let (one, other) = (filled(&of("one"), one).await, filled(&of("other"), other).await);
    let owner = || Owner::new(folder_of.clone(), Purpose::Artifacts, registry, true);
    let owners = [(owner(), one), (owner(), other)];
    owners[0].0.take(Uuid::now_v7(), &owners[0].1).await.unwrap();
    owners
}

#[tokio::test]
async fn a_registry_that_is_behind_what_its_place_has_seen_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let common = history(&[], "ana", 10);
    let longer = [common.clone(), history(&common, "ana", 5)].concat();
    let [(ours, ahead), (theirs, behind)] = clones(folder.path(), [longer.clone(), common.clone()]).await;
    ours.check(&ahead).await.unwrap();
    let refused = theirs.check(&behind).await.unwrap_err();
    assert!(matches!(refused, OwnerError::OtherPast { revision: 15, .. }), "{refused}");
    // Once it has as many revisions they are other ones.
    for more in [5, 20] {
        let store = folder.path().join(more.to_string());
        let grown = filled(&store, [common.clone(), history(&common, "bob", more)].concat()).await;
        let refused = theirs.check(&grown).await.unwrap_err();
        assert!(matches!(refused, OwnerError::OtherPast { revision: 15, .. }), "{refused}");
    }
    // It may start, to serve. And by hand it goes on, and the other one does not.
    theirs.enter(&behind).await.unwrap();
    theirs.take(Uuid::now_v7(), &behind).await.unwrap();
    theirs.check(&behind).await.unwrap();
    ours.check(&ahead).await.unwrap();
    let refused = theirs.check(&behind).await.unwrap_err();
    assert!(matches!(refused, OwnerError::OtherPast { revision: 15, .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_have_parted_at_most_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let common = history(&[], "ana", 10);
    let store = filled(&folder.path().join("common"), common.clone()).await;
    let mut parted = Vec::new();
    for actor in ["ana", "bob"] {
        parted.push(filled(&folder.path().join(actor), [common.clone(), history(&common, actor, 3)].concat()).await);
    }
    let (mut one, mut none) = (0, 0);
    for times in 0..5_u64.pow(4) {
        let objects = Arc::new(InMemory::new());
        let registry = Uuid::now_v7();
        let owner = |list, put| {
            let folder = Folder::of(slow(&objects, times, list, put));
            Owner::new(folder, Purpose::Artifacts, registry, true)
        };
        owner(0, 1).take(Uuid::now_v7(), &store).await.unwrap();
        let (ours, theirs) = (owner(0, 1), owner(2, 3));
        match futures::future::join(ours.check(&parted[0]), theirs.check(&parted[1])).await {
            (Ok(_), Ok(_)) => panic!("{times}"),
            (Err(_), Err(_)) => none += 1,
            _ => one += 1,
        }
    }
    assert!(one > 0 && none > 0, "{one} went on, {none} times nobody");
}

#[tokio::test]
async fn notes_do_not_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let objects = place();
    let past = history(&[], "ana", 30);
    let store = store(folder.path());
    let owner = owner(&objects, &store).await;
    owner.enter(&store).await.unwrap();
    for entry in past {
        store.restore(vec![entry], true).await.unwrap();
        owner.check(&store).await.unwrap();
        let notes = Listed::of(&owner.folder).await.unwrap().notes;
        assert_eq!(notes, [Position::newest(&store).await.unwrap()]);
    }
}

#[tokio::test]
async fn who_only_looks_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, used) =
        (store(&folder.path().join("empty")), filled(&folder.path().join("used"), history(&[], "ana", 3)).await);
    let objects = place();
    owner(&objects, &empty).await.look(&empty).await.unwrap();
    let refused = owner(&objects, &used).await.look(&used).await.unwrap_err();
    assert!(matches!(refused, OwnerError::Unclaimed { .. }), "{refused}");
    assert!(Listed::of(&Folder::of(Arc::clone(&objects))).await.unwrap().claims.is_empty());
    owner(&objects, &used).await.take(Uuid::now_v7(), &used).await.unwrap();
    owner(&objects, &used).await.look(&used).await.unwrap();
    let refused = owner(&objects, &empty).await.look(&empty).await.unwrap_err();
    assert!(matches!(refused, OwnerError::Taken { .. }), "{refused}");
}

#[tokio::test]
async fn a_place_is_not_used_for_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path(), history(&[], "ana", 3)).await;
    let of =
        |purpose, objects: Arc<dyn ObjectStore>, registry| Owner::new(Folder::of(objects), purpose, registry, false);
    let identity = store.identity().await.unwrap();
    for (theirs, ours) in [(Purpose::Archive, Purpose::Artifacts), (Purpose::Artifacts, Purpose::Archive)] {
        // Also if it is another registry's.
        for registry in [identity, Uuid::now_v7()] {
            let objects = place();
            let id = Uuid::now_v7();
            of(theirs, Arc::clone(&objects), registry).take(id, &store).await.unwrap();
            let swapped = of(ours, Arc::clone(&objects), identity);
            let taken = swapped.take(Uuid::now_v7(), &store).await.map(drop);
            let entered = swapped.enter(&store).await.map(drop);
            for refused in [entered, swapped.check_takeable(&store, false).await, taken] {
                let refused = refused.unwrap_err();
                assert!(matches!(refused, OwnerError::OtherPurpose { .. }), "{refused}");
                assert!(refused.to_string().contains("--artifacts and --archive swapped"), "{refused}");
            }
            assert_eq!(Listed::of(&Folder::of(objects)).await.unwrap().claims, [claim_name(id)]);
        }
    }
}

#[tokio::test]
async fn claims_of_one_registry_are_tidied() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let owner = owner(&place(), &store).await;
    for id in [7, 5, 9].map(Uuid::from_u128) {
        owner.write_claim(id, &store).await.unwrap();
    }
    let id = owner.check(&store).await.unwrap();
    assert_eq!(id, Uuid::from_u128(5));
    assert_eq!(owner.tidy(id).await.unwrap().unwrap().claims.len(), 2);
    assert_eq!(owner.tidy(id).await.unwrap(), None);
    assert_eq!(owner.check(&store).await.unwrap(), id);
}

/// An object store with credentials that may remove nothing.
#[derive(Debug)]
struct Kept(InMemory);

impl Display for Kept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("kept")
    }
}

#[async_trait]
impl ObjectStore for Kept {
    async fn put_opts(&self, path: &At, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        self.0.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &At, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &At, options: GetOptions) -> Answer<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Answer<At>>) -> BoxStream<'static, Answer<At>> {
        let denied = |path: Answer<At>| {
            let path = path?.to_string();
            Err(object_store::Error::PermissionDenied { path, source: "403 Forbidden".into() })
        };
        stream::StreamExt::map(paths, denied).boxed()
    }

    fn list(&self, prefix: Option<&At>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&At>) -> Answer<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &At, to: &At, options: CopyOptions) -> Answer<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn whether_claims_can_be_removed_is_tried_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let kept: Arc<dyn ObjectStore> = Arc::new(Kept(InMemory::new()));
    let refused = owner(&kept, &store).await.check_may_remove().await.unwrap_err();
    assert!(matches!(refused, OwnerError::NoRemoval { .. }), "{refused}");
    assert!(refused.to_string().contains("the right to remove objects"), "{refused}");
    assert!(Folder::of(kept).names().await.unwrap().is_empty());
    let objects = place();
    owner(&objects, &store).await.check_may_remove().await.unwrap();
    assert!(Folder::of(objects).names().await.unwrap().is_empty());
}
