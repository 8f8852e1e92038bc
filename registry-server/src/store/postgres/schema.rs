//! The schema, and how it is made and brought up to date.

use tokio_postgres::Client;

use super::connect::Connection;
use super::error::Failure;
use super::views;
use crate::store::StoreError;

/// The version that the first migration makes. The one before was never released: a schema that has it can't be used any more.
const FIRST: u32 = 2;

/// What makes each version of the schema out of the one before. Those that were released never change.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0002_records_and_log.sql")];

/// The newest schema that this program knows.
pub(super) const NEWEST: u32 = FIRST + MIGRATIONS.len() as u32 - 1;

/// Brings the schema up to date, and then the views. Several servers may do so at once: each waits for those before it.
pub(super) async fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let client = connection.client();
    let failed = |error: tokio_postgres::Error| StoreError::from(Failure::from(error));
    let row = client.query_one("SELECT current_schema()", &[]).await.map_err(failed)?;
    if row.get::<_, Option<&str>>(0).is_none() {
        return Err(StoreError::Unavailable("the schema in the database's search_path does not exist".to_owned()));
    }
    // A migration may take its time, and so may waiting for another server's.
    let begin = "BEGIN; SET LOCAL statement_timeout = 0;
        SELECT pg_advisory_xact_lock(hashtext('model-registry'), hashtext(current_schema()));
        CREATE TABLE IF NOT EXISTS schema_version (
            version integer PRIMARY KEY, time timestamptz NOT NULL DEFAULT now()
        )";
    client.batch_execute(begin).await.map_err(failed)?;
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
    update_views(client, &views::definition(connection.layout())).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)
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
