//! Archives of more than one past: of two registries, of a database that has fallen back, of a former owner.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::backup::restore::{Until, restore};
use crate::chunks::ChunkStore;
use crate::encryption::data::DataKeys;
use crate::encryption::master::MasterKeys;
use crate::registry::chain::tests::{History, history};
use crate::registry::kinds::LAYOUT;
use crate::rules::quota::Limits;
use crate::store::sled::SledStore;
use crate::stored::LogEntry;

/// A folder for an archive and for stores.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn archive(&self) -> String {
        self.0.path().join("archive").to_str().unwrap().to_owned()
    }

    fn stores(&self) -> (Arc<dyn Store>, ChunkStore) {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&folder.join("store"), 1 << 20, &LAYOUT).unwrap());
        let keys = DataKeys::new(Arc::clone(&store), MasterKeys::default());
        (store, ChunkStore::new(Folder::local(&folder.join("artifacts")).unwrap(), keys))
    }

    async fn registry(&self, history: &[LogEntry]) -> Registry {
        let (store, chunks) = self.stores();
        store.restore(history.to_vec(), true).await.unwrap();
        Registry::new(store, chunks, Limits::default(), Duration::MAX)
    }

    /// A shipper of a server whose registry has this history, and an identity and whereabouts that others have as well.
    async fn shipper(&self, identity: Uuid, history: &[LogEntry]) -> Result<Shipper, ArchiveError> {
        let mut shipper = Shipper::of(self.registry(history).await, &self.archive()).await?;
        shipper.owner = Owner::new(shipper.archive.folder.clone(), Purpose::Archive, identity, true);
        let timeline = shipper.owner.enter(shipper.store()).await?;
        shipper.take_up(timeline).await?;
        Ok(shipper)
    }

    /// What comes of the archive.
    async fn restored(&self, until: Until) -> Result<History, RestoreError> {
        let (store, chunks) = self.stores();
        let restored = restore(&*store, &chunks, &self.archive(), until, |_| {}).await;
        assert_eq!(store.whole().await.unwrap(), restored.is_ok() || store.newest().await.unwrap() == 0);
        let restored = restored?.revision;
        Ok(store.changes(0, usize::try_from(restored).unwrap() + 1).await.unwrap())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for timeline in Path::new(&self.archive()).join("log").read_dir().unwrap() {
            found.extend(timeline.unwrap().path().read_dir().unwrap().map(|file| file.unwrap().path()));
        }
        found.sort();
        found
    }
}

/// The same database after it has fallen back.
async fn fall_back(place: &Place, shipper: &mut Shipper, history: &[LogEntry]) {
    shipper.registry = place.registry(history).await;
}

async fn claim(registry: Registry, place: &str) -> Result<Option<Former>, ArchiveError> {
    Shipper::to_claim(registry, place).await?.claim().await
}

fn then(before: &[LogEntry], actor: &str, count: usize) -> History {
    [before, &history(before, actor, count)].concat()
}

#[tokio::test]
async fn a_database_that_falls_back_under_running_servers_ships_nothing_on() {
    let common = history(&[], "ana", 10);
    let old = then(&common, "ana", 10);
    // It has none of the lost revisions, some, as many, and more.
    for again in [0, 5, 10, 15] {
        let place = Place::new();
        let identity = Uuid::now_v7();
        // One server is ahead of the other one.
        let mut late = place.shipper(identity, &common).await.unwrap();
        late.ship().await.unwrap();
        let mut early = place.shipper(identity, &old).await.unwrap();
        early.ship().await.unwrap();
        assert_eq!((late.shipped.revision, early.shipped.revision), (10, 20));
        let (archived, before) = (place.restored(Until::End).await.unwrap(), place.segments());
        assert_eq!(archived, old);

        let fallen = then(&common, "bob", again);
        for shipper in [&mut early, &mut late] {
            fall_back(&place, shipper, &fallen).await;
        }
        let refused = early.ship().await.unwrap_err();
        assert!(refused.is_of_another(), "{again}: {refused}");
        if again > 0 {
            let refused = late.ship().await.unwrap_err();
            assert!(refused.is_of_another(), "{again}: {refused}");
        }
        let opened = place.shipper(identity, &fallen).await.err().unwrap().to_string();
        assert!(opened.contains("has a revision 20 that this registry does not have like that"), "{opened}");
        assert!(opened.contains("registry-server claim"), "{opened}");
        assert_eq!(place.segments(), before, "{again}");
        assert_eq!(place.restored(Until::End).await.unwrap(), archived);
    }
}

#[tokio::test]
async fn an_archive_goes_on_in_a_timeline_of_its_own_once_it_is_claimed() {
    let place = Place::new();
    let common = history(&[], "ana", 10);
    let old = then(&common, "ana", 10);
    let mut former = place.shipper(Uuid::now_v7(), &old[..15]).await.unwrap();
    former.ship().await.unwrap();

    let fallen = then(&common, "bob", 3);
    let registry = place.registry(&fallen).await;
    let refused = Shipper::open(registry.clone(), &place.archive()).await.err().unwrap();
    assert!(matches!(refused, ArchiveError::Owner(OwnerError::Taken { .. })), "{refused}");
    let before = claim(registry.clone(), &place.archive()).await.unwrap().unwrap();
    assert_eq!(before.claims.len(), 1);
    assert!(before.running, "it has written a note just now");
    assert_eq!(claim(registry.clone(), &place.archive()).await.unwrap(), None, "once is enough");
    assert_eq!(place.restored(Until::End).await.unwrap(), fallen);
    // The former owner had looked before that, and ships only now.
    fall_back(&place, &mut former, &old).await;
    assert!(former.ship_segment(false).await.unwrap());
    assert_eq!(former.shipped.revision, 20);
    assert_eq!(place.restored(Until::End).await.unwrap(), fallen);
    let refused = former.ship().await;
    assert!(refused.is_ok(), "there is nothing more to ship");
    fall_back(&place, &mut former, &then(&old, "ana", 1)).await;
    let refused = former.ship().await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Owner(OwnerError::Taken { .. })), "{refused}");
    let mut now = Shipper::open(place.registry(&fallen).await, &place.archive()).await;
    assert!(now.is_err(), "a copy of its log is another registry");
    now = Shipper::open(registry, &place.archive()).await;
    assert_eq!(now.unwrap().shipped.revision, 13);
}

#[tokio::test]
async fn a_running_server_goes_on_with_the_timeline_that_was_claimed_meanwhile() {
    let place = Place::new();
    let identity = Uuid::now_v7();
    let common = history(&[], "ana", 10);
    let mut server = place.shipper(identity, &then(&common, "ana", 5)).await.unwrap();
    server.ship().await.unwrap();
    let fallen = then(&common, "bob", 2);
    fall_back(&place, &mut server, &fallen).await;
    assert!(server.ship().await.unwrap_err().is_of_another());
    // As the command does it, with the same whereabouts.
    let mut by_hand = Shipper::of(place.registry(&fallen).await, &place.archive()).await.unwrap();
    by_hand.owner = Owner::new(by_hand.archive.folder.clone(), Purpose::Archive, identity, true);
    by_hand.timeline = Uuid::now_v7();
    assert!(by_hand.ship_segment(true).await.unwrap());
    by_hand.owner.take(by_hand.timeline, by_hand.store()).await.unwrap();

    let more = then(&fallen, "bob", 4);
    fall_back(&place, &mut server, &more).await;
    server.ship().await.unwrap();
    assert_eq!((server.timeline, server.shipped.revision), (by_hand.timeline, 16));
    assert_eq!(*server.archived().borrow(), 16);
    assert_eq!(place.restored(Until::End).await.unwrap(), more);
}

#[tokio::test]
async fn segments_of_two_pasts_are_never_restored_as_one() {
    let common = history(&[], "ana", 10);
    let (one, other) = (then(&common, "ana", 20), then(&common, "bob", 20));
    // Which revisions of the other past lie beside those of the first, which are shipped up to 20.
    for (from, to) in [(10, 20), (10, 15), (10, 25), (20, 30), (15, 20)] {
        let place = Place::new();
        let mut shipper = place.shipper(Uuid::now_v7(), &common).await.unwrap();
        shipper.ship().await.unwrap();
        fall_back(&place, &mut shipper, &one[..20]).await;
        shipper.ship().await.unwrap();
        fall_back(&place, &mut shipper, &other[..to]).await;
        shipper.shipped = Position::of(shipper.store(), from as u64).await.unwrap().unwrap();
        assert!(shipper.ship_segment(false).await.unwrap());
        assert_eq!(place.segments().len(), 3, "nothing was replaced");
        let refused = place.restored(Until::End).await.unwrap_err();
        let RestoreError::Mixed { sure, .. } = refused else { panic!("{from}-{to}: {refused}") };
        assert!(refused.to_string().contains(&format!("--revision {sure}")), "{refused}");
        let safe = place.restored(Until::Revision(sure)).await.unwrap();
        assert!(safe.len() >= 10 && (one.starts_with(&safe) || other.starts_with(&safe)), "{from}-{to}: {sure}");
    }
}

#[tokio::test]
async fn several_servers_ship_overlapping_segments_of_one_past() {
    let place = Place::new();
    let identity = Uuid::now_v7();
    let all = history(&[], "ana", 20);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(place.shipper(identity, &all[..2]).await.unwrap());
    }
    for (server, to) in [(0, 5), (1, 7), (0, 12), (2, 12), (1, 15), (0, 20), (2, 20), (1, 20)] {
        fall_back(&place, &mut servers[server], &all[..to]).await;
        servers[server].ship().await.unwrap();
        let newest = servers.iter().map(|server| server.shipped.revision).max().unwrap();
        assert_eq!(place.restored(Until::End).await.unwrap().last().unwrap().revision, newest);
    }
    assert_eq!(place.restored(Until::End).await.unwrap(), all);
}

#[tokio::test]
async fn with_several_claims_the_timeline_that_servers_go_on_with_is_restored() {
    let place = Place::new();
    let common = history(&[], "ana", 5);
    let registry = place.registry(&common).await;
    let claim = |id: u128, registry: Registry, ship: bool| {
        let archive = place.archive();
        async move {
            let mut shipper = Shipper::of(registry, &archive).await.unwrap();
            shipper.timeline = Uuid::from_u128(id);
            shipper.owner.write_claim(shipper.timeline, shipper.store()).await.unwrap();
            assert!(!ship || shipper.ship_segment(true).await.unwrap());
        }
    };
    // The only timeline, whatever the claims say.
    claim(2, place.registry(&common).await, false).await;
    claim(8, place.registry(&common).await, false).await;
    claim(6, registry.clone(), true).await;
    assert_eq!(place.restored(Until::End).await.unwrap(), common);
    // Of two, none: the claims are of three registries.
    let other = then(&common, "bob", 3);
    claim(7, place.registry(&other).await, true).await;
    let refused = place.restored(Until::End).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Timelines { .. }), "{refused}");
    for id in [2, 6, 7, 8].map(Uuid::from_u128) {
        assert!(refused.to_string().contains(&format!("registry-id-{id} of registry")), "{refused}");
    }
    // What the message says helps.
    let (log, away) = (Path::new(&place.archive()).join("log"), place.0.path().join("away"));
    std::fs::rename(log.join(Uuid::from_u128(6).to_string()), &away).unwrap();
    assert_eq!(place.restored(Until::End).await.unwrap(), other);
    std::fs::rename(&away, log.join(Uuid::from_u128(6).to_string())).unwrap();
    // The claims are of one registry, and the first of them has no log.
    for id in [2, 7, 8].map(Uuid::from_u128) {
        std::fs::remove_file(Path::new(&place.archive()).join(format!("registry-id-{id}"))).unwrap();
    }
    for id in [1, 7] {
        claim(id, registry.clone(), false).await;
    }
    assert_eq!(place.restored(Until::End).await.unwrap(), common);
}
