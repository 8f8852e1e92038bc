//! Taking places over: what `registry-server claim` does.

use std::sync::Arc;

use uuid::Uuid;

use crate::backup::shipper::Shipper;
use crate::config::Config;
use crate::registry::Registry;
use crate::stores::{ServeError, Stores};

/// A place that is the registry's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which.
    pub place: String,
    /// Whose it was; `None` if it was the registry's already.
    pub before: Option<Vec<String>>,
}

/// Makes the places of the artifacts and, if there is one, of the archive this registry's, whoever had them.
///
/// # Errors
/// If there is no registry, it is in use where only one server may, is in the middle of a restore, or a place can't be written.
pub async fn claim(config: &Config) -> Result<Vec<Claimed>, ServeError> {
    Stores::check_existing(config)?;
    // Held to the end: it keeps servers away.
    let stores = Stores::open_unclaimed(config).await?;
    let (store, owner) = (&stores.store, &stores.owner);
    if !store.whole().await? {
        return Err(ServeError::Unfinished);
    }
    let ours = owner.check(&**store).await.is_ok();
    let before = if ours { None } else { Some(owner.take(Uuid::new_v4(), &**store).await?) };
    let mut claimed = vec![Claimed { place: owner.place(), before }];
    if let Some(place) = &config.archive {
        let registry = Registry::new(Arc::clone(store), stores.chunks.clone(), config.limits(), config.purge_after.0);
        let before = Shipper::claim(registry, place).await?;
        claimed.push(Claimed { place: place.clone(), before });
    }
    Ok(claimed)
}
