//! Dropping the beginning of the log.

use super::PostgresStore;
use super::error::Failure;
use super::pool::Pooled;
use super::read::revision;
use crate::store::{Revision, StoreError};

/// How many revisions go at once: a long transaction keeps old versions of all rows.
const AT_ONCE: i64 = 10_000;
/// Of the log before a revision, but never the newest row: whoever asks may know of revisions that this database has lost.
const DROP: &str = "
    WITH bounds AS (SELECT min(last_revision) AS oldest, max(last_revision) AS newest FROM log),
        dropped AS (
            DELETE FROM log USING bounds
            WHERE last_revision < least($1, bounds.newest, bounds.oldest + $2)
            RETURNING last_revision
        )
    UPDATE store SET oldest = behind.revision
    FROM (SELECT max(last_revision) + 1 AS revision FROM dropped) AS behind
    WHERE behind.revision IS NOT NULL";

impl PostgresStore {
    pub(super) async fn drop_before(&self, before: Revision) -> Result<Revision, StoreError> {
        loop {
            if !self.pool.read(|pooled| drop_some(pooled, before)).await? {
                return Ok(self.pool.read(oldest).await?);
            }
        }
    }
}

/// False if there is nothing to drop.
async fn drop_some(pooled: Pooled, before: Revision) -> Result<bool, Failure> {
    let connection = &pooled.reader()?.connection;
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let dropped = async { Ok(connection.client().execute(DROP, &[&before, &AT_ONCE]).await?) };
    Ok(connection.limited(dropped).await? > 0)
}

/// The first revision that the log has.
pub(super) async fn oldest(pooled: Pooled) -> Result<Revision, Failure> {
    let connection = &pooled.reader()?.connection;
    let oldest = async { Ok(connection.client().query_one("SELECT oldest FROM store", &[]).await?) };
    revision(&connection.limited(oldest).await?, 0)
}
