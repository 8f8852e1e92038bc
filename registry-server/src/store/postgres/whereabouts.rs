//! Where a registry's records are in the world of PostgreSQL servers.

use tokio_postgres::Client;

use super::error::Failure;
use crate::store::Whereabouts;

const WHERE: &str = "
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           pg_walfile_name(pg_current_wal_lsn()),
           (SELECT oid FROM pg_database WHERE datname = current_database()), current_database()::text,
           (SELECT oid FROM pg_namespace WHERE nspname = current_schema()), current_schema()::text";

/// The database and schema that a connection leads to.
pub(super) async fn whereabouts(client: &Client) -> Result<Whereabouts, Failure> {
    let row = client.query_one(WHERE, &[]).await?;
    // The name of a WAL file begins with its timeline, as eight digits.
    let file: &str = row.try_get(1)?;
    let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(Whereabouts::Postgres {
        system: row.try_get(0)?,
        timeline: timeline.ok_or_else(|| Failure::damaged(format!("{file} is no name of a WAL file")))?,
        database: (row.try_get(2)?, row.try_get(3)?),
        schema: (row.try_get(4)?, row.try_get(5)?),
    })
}
