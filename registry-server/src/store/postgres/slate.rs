//! The slate: a table of its own, of which each row is written by itself.

use bytes::Bytes;
use tokio_postgres::types::ToSql;

use super::error::Failure;
use super::pool::Pooled;
use super::read::{bytes, prefix_end};

pub(super) async fn get(pooled: Pooled, key: &[u8]) -> Result<Option<Bytes>, Failure> {
    let connection = &pooled.reader()?.connection;
    let sql = "SELECT value FROM slate WHERE key = $1";
    let row = connection.limited(async { Ok(connection.client().query_opt(sql, &[&key]).await?) }).await?;
    row.map(|row| bytes(&row, 0)).transpose()
}

pub(super) async fn scan(pooled: Pooled, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let connection = &pooled.reader()?.connection;
    let sql = "SELECT key, value FROM slate WHERE key >= $1 AND key < $2 ORDER BY key";
    let end = prefix_end(prefix.to_vec());
    let rows = connection.limited(async { Ok(connection.client().query(sql, &[&prefix, &end]).await?) }).await?;
    rows.iter().map(|row| Ok((bytes(row, 0)?, bytes(row, 1)?))).collect()
}

/// It is made again over another connection if this one breaks: whoever wrote the new value before hears that it is there.
pub(super) async fn swap(pooled: Pooled, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
    let connection = &pooled.reader()?.connection;
    let client = connection.client();
    let (sql, parameters): (&str, Vec<&(dyn ToSql + Sync)>) = match (&old, &new) {
        (None, Some(new)) => ("INSERT INTO slate VALUES ($1, $2) ON CONFLICT DO NOTHING", vec![&key, new]),
        (Some(old), Some(new)) => ("UPDATE slate SET value = $2 WHERE key = $1 AND value = $3", vec![&key, new, old]),
        (Some(old), None) => ("DELETE FROM slate WHERE key = $1 AND value = $2", vec![&key, old]),
        (None, None) => ("SELECT FROM slate WHERE false AND key = $1", vec![&key]),
    };
    if connection.limited(async { Ok(client.execute(sql, &parameters).await?) }).await? > 0 {
        return Ok(true);
    }
    let sql = "SELECT NOT EXISTS (SELECT FROM slate WHERE key = $1 AND value IS DISTINCT FROM $2)
        AND ($2 IS NULL OR EXISTS (SELECT FROM slate WHERE key = $1))";
    let row = connection.limited(async { Ok(client.query_one(sql, &[&key, &new]).await?) }).await?;
    Ok(row.try_get(0)?)
}
