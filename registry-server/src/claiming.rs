//! Taking places over: what `registry-server claim` does.

use std::sync::Arc;

use uuid::Uuid;

use crate::backup::shipper::{Shipper, owner_of};
use crate::config::Config;
pub use crate::owners::Former;
use crate::places::Folder;
use crate::registry::Registry;
use crate::stores::{ServeError, Stores};

/// A place that is the registry's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which.
    pub place: String,
    /// Whose it was; `None` if it was the registry's already.
    pub before: Option<Former>,
}

/// Makes the places of the artifacts and, if there is one, of the archive this registry's, whoever had them. An empty registry takes
/// no place from another one, unless it is to be filled by a restore: then the archive, which may be what is restored, stays as it is.
///
/// # Errors
/// If there is no registry, it is in use where only one server may, is empty, is in the middle of a restore, or a place can't be
/// written.
pub async fn claim(config: &Config, for_restore: bool) -> Result<Vec<Claimed>, ServeError> {
    if !for_restore {
        Stores::check_existing(config).await?;
    }
    // Held to the end: it keeps servers away.
    let stores = Stores::open_unclaimed(config).await?.locked()?;
    let (store, owner) = (&stores.store, &stores.owner);
    if !store.whole().await? {
        return Err(ServeError::Unfinished);
    }
    let revision = store.newest().await?;
    if for_restore && revision > 0 {
        return Err(ServeError::NotEmpty(revision));
    }
    let archive = config.archive.as_ref().filter(|_| !for_restore);
    let mut owners = vec![owner.clone()];
    if let Some(place) = archive {
        owners.push(owner_of(Folder::open(place).await?, &**store).await?);
    }
    // Nothing is changed before everything is known to be as it should.
    for owner in &owners {
        owner.check_takeable(&**store, for_restore).await?;
    }
    let checked = owner.check(&**store).await;
    if checked.is_err() {
        owner.check_may_remove().await?;
    }
    let registry = Registry::new(Arc::clone(store), stores.chunks.clone(), config.limits(), config.purge_after.0);
    let shipping = match archive {
        Some(place) => Some((place, Shipper::to_claim(registry, place).await?)),
        None => None,
    };
    let before = match checked {
        Ok(id) => owner.tidy(id).await?,
        Err(_) => Some(owner.take(Uuid::new_v4(), &**store).await?),
    };
    let mut claimed = vec![Claimed { place: owner.place(), before }];
    if let Some((place, shipper)) = shipping {
        let before = shipper.claim().await?;
        claimed.push(Claimed { place: place.clone(), before });
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;
    use crate::backup::restore::{Until, restore};
    use crate::owners::OwnerError;
    use crate::registry::chain::tests::history;

    /// A registry with places that others share.
    fn config(folder: &Path, name: &str) -> Config {
        let shared = |place: &str| folder.join(place).to_str().map(str::to_owned);
        let (artifacts, archive) = (shared("artifacts"), shared("archive"));
        Config { storage_path: folder.join(name), artifacts, archive, ..Config::default() }
    }

    /// As a server leaves it that has served it.
    async fn filled(config: &Config) {
        let stores = Stores::open(config).await.unwrap();
        stores.store.restore(history(&[], "ana", 3), true).await.unwrap();
        let registry = Registry::new(Arc::clone(&stores.store), stores.chunks.clone(), config.limits(), Duration::MAX);
        let shipper = Shipper::open(registry, config.archive.as_deref().unwrap()).await.unwrap();
        shipper.run(Duration::MAX, watch::channel(true).1).await;
    }

    /// Those who had the places before.
    fn former(claimed: &[Claimed]) -> Vec<Option<usize>> {
        claimed.iter().map(|claimed| claimed.before.as_ref().map(|former| former.claims.len())).collect()
    }

    #[tokio::test]
    async fn an_empty_registry_takes_a_place_only_to_be_filled_by_a_restore() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (config(folder.path(), "first"), config(folder.path(), "second"));
        filled(&first).await;
        assert_eq!(former(&claim(&first, false).await.unwrap()), [None, None]);
        let refused = claim(&second, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::NoStore(_)), "{refused}");
        let refused = Stores::open_to_fill(&second).await.err().unwrap().to_string();
        assert!(refused.contains("another registry") && refused.contains("claim --for-restore"), "{refused}");
        let refused = claim(&second, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::Owner(OwnerError::Empty { .. })), "{refused}");
        assert!(refused.to_string().contains(first.storage_path.to_str().unwrap()), "{refused}");
        // Also if only the archive is another one's.
        let own = Config { artifacts: None, ..second.clone() };
        let refused = claim(&own, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::Owner(OwnerError::Empty { .. })), "{refused}");
        // Nothing has changed.
        assert_eq!(former(&claim(&first, false).await.unwrap()), [None, None]);
        assert!(matches!(claim(&first, true).await, Err(ServeError::NotEmpty(3))));

        let claimed = claim(&second, true).await.unwrap();
        assert_eq!(former(&claimed), [Some(1)]);
        assert!(claimed[0].before.as_ref().unwrap().running, "its note is new");
        assert!(claim(&second, true).await.unwrap()[0].before.is_none(), "once is enough");
        let stores = Stores::open_to_fill(&second).await.unwrap();
        let archive = second.archive.as_deref().unwrap();
        let restored = restore(&*stores.store, &stores.chunks, archive, Until::End, |_| {}).await.unwrap();
        assert_eq!(restored.revision, 3);
        drop(stores);
        assert_eq!(former(&claim(&second, false).await.unwrap()), [None, Some(1)]);
        assert!(matches!(Stores::open(&first).await, Err(ServeError::Owner(OwnerError::Taken { .. }))));
    }
}
