//! Where a registry's records are in the world of PostgreSQL servers.

use tokio_postgres::{Client, SimpleQueryRow};

use super::error::Failure;
use super::home::{last_row, text};
use crate::store::Whereabouts;

/// What tells where a connection leads.
macro_rules! columns {
    () => {
        "(SELECT system_identifier::text FROM pg_control_system()),
        pg_walfile_name(pg_current_wal_lsn()),
        (SELECT oid FROM pg_database WHERE datname = current_database()), current_database(),
        current_schema()::regnamespace::oid, current_schema()"
    };
}
pub(super) use columns;

/// The database and schema that a connection leads to.
pub(super) async fn whereabouts(client: &Client) -> Result<Whereabouts, Failure> {
    let answer = client.simple_query(concat!("SELECT ", columns!())).await?;
    read(last_row(&answer).ok_or_else(|| Failure::broken("the database does not say where it is"))?, 0)
}

/// Reads the columns, from one on.
pub(super) fn read(row: &SimpleQueryRow, first: usize) -> Result<Whereabouts, Failure> {
    let name = |column| Ok::<_, Failure>(text(row, first + column)?.to_owned());
    let oid = |column| name(column)?.parse().map_err(Failure::damaged);
    // The name of a WAL file begins with its timeline, as eight digits.
    let file = name(1)?;
    let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(Whereabouts::Postgres {
        system: name(0)?,
        timeline: timeline.ok_or_else(|| Failure::damaged(format!("{file} is no name of a WAL file")))?,
        database: (oid(2)?, name(3)?),
        schema: (oid(4)?, name(5)?),
    })
}
