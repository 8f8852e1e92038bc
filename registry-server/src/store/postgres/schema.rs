//! The schema, and how it is made and brought up to date.

use tokio_postgres::Client;

use super::connect::Connection;
use super::error::Failure;
use super::home::{FIND, Found, LOCK};
use super::views;
use crate::store::StoreError;

/// The version that the first migration makes. Those before were never released: a schema that has one can't be used any more.
const FIRST: u32 = 4;

/// What makes each version of the schema out of the one before. Those that were released never change.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0004_records_and_log.sql"), include_str!("migrations/0005_slate.sql")];

/// The newest schema that this program knows.
pub(super) const NEWEST: u32 = FIRST + MIGRATIONS.len() as u32 - 1;

/// Brings the schema up to date, and then the views, unless they are. Several servers may do so at once: each waits for those before
/// it, and for the commits of those that run.
pub(super) async fn migrate(connection: &Connection, found: Option<Found>) -> Result<Found, StoreError> {
    let views = views::definition(connection.layout());
    if let Some(found) = found.filter(|found| found.is_current(&views)) {
        return Ok(found);
    }
    let client = connection.client();
    let failed = |error: tokio_postgres::Error| StoreError::from(Failure::from(error));
    // A migration may take its time, and so may waiting for another server's.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0;
        SET LOCAL idle_in_transaction_session_timeout = 0; {LOCK};
        CREATE TABLE IF NOT EXISTS schema_version (
            version integer PRIMARY KEY, time timestamptz NOT NULL DEFAULT now()
        )"
    );
    client.batch_execute(&begin).await.map_err(failed)?;
    let row = client.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await.map_err(failed)?;
    let found = u32::try_from(row.get::<_, i32>(0)).unwrap_or(0);
    match found {
        1..FIRST => return Err(StoreError::TooOld { found, known: FIRST }),
        _ if found > NEWEST => return Err(StoreError::TooNew { found, known: NEWEST }),
        _ => {}
    }
    for (version, migration) in (FIRST..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        tracing::info!(version, "migrating the database");
        client.batch_execute(migration).await.map_err(failed)?;
        let done = format!("INSERT INTO schema_version (version) VALUES ({version})");
        client.batch_execute(&done).await.map_err(failed)?;
    }
    update_views(client, &views).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)?;
    let answer = client.simple_query(FIND).await.map_err(failed)?;
    Ok(Found::of(&answer)?)
}

/// Makes the views, unless they were made by the same statements.
async fn update_views(client: &Client, definition: &str) -> Result<(), tokio_postgres::Error> {
    let made = client.query_opt("SELECT FROM layout WHERE definition = $1", &[&definition]).await?;
    if made.is_some() {
        return Ok(());
    }
    tracing::info!("making the database's views");
    client.batch_execute(definition).await?;
    let noted = "INSERT INTO layout (definition) VALUES ($1)
        ON CONFLICT (only_row) DO UPDATE SET definition = excluded.definition";
    client.execute(noted, &[&definition]).await?;
    Ok(())
}
