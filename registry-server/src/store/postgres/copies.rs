//! What is kept beside records and log: is it what they make?

use serde_json::Value;
use tokio_postgres::Row;

use super::error::Failure;
use super::facts;
use super::pool::Pooled;
use super::read::{bounded, bytes};
use crate::store::{Flaw, Kind, Layout};

/// How many records are read at once.
const PAGE: i64 = 1000;

/// Behind which record to go on.
pub(super) type At = (i16, Vec<u8>);

/// What is wrong with the copies for people of the records behind one, and behind which to go on; `None`: that was all.
pub(super) async fn flaws(
    pooled: Pooled,
    layout: &'static Layout,
    after: &At,
) -> Result<(Vec<Flaw>, Option<At>), Failure> {
    let connection = &pooled.reader()?.connection;
    let page = "SELECT kind, key, payload, facts FROM record WHERE (kind, key) > ($1, $2) ORDER BY kind, key LIMIT $3";
    let page = bounded("kind, key, payload, facts", "octet_length(payload)", page);
    let rows = connection.limited(async { Ok(connection.client().query(&page, &[&after.0, &after.1, &PAGE]).await?) });
    let (mut flaws, mut last) = (Vec::new(), None);
    for row in rows.await? {
        let at: At = (row.try_get(0)?, row.try_get(1)?);
        flaws.extend(flaw(layout, &at, &row)?);
        last = Some(at);
    }
    Ok((flaws, last))
}

fn flaw(layout: &Layout, (kind, key): &At, row: &Row) -> Result<Option<Flaw>, Failure> {
    let Some(known) = u8::try_from(*kind).ok().and_then(|kind| layout.kind(Kind(kind))) else {
        let name = format!("kind {kind} {}", key.escape_ascii());
        return Ok(Some(Flaw { name, detail: "no record is of this kind" }));
    };
    let read = |text: &str| serde_json::from_str::<Value>(text).map_err(Failure::damaged);
    let kept = row.try_get::<_, Option<&str>>(3)?.map(read).transpose()?;
    let made = facts::json(layout, known.kind, &bytes(row, 2)?).map(|text| read(&text)).transpose()?;
    let name = || format!("{} {}", known.name, key.escape_ascii());
    Ok((kept != made)
        .then(|| Flaw { name: name(), detail: "what people see of it in the database is not what it says" }))
}

/// Whether the store says that it is whole.
pub(super) async fn whole(pooled: Pooled) -> Result<bool, Failure> {
    let connection = &pooled.reader()?.connection;
    let row = connection.limited(async { Ok(connection.client().query_one("SELECT whole FROM store", &[]).await?) });
    Ok(row.await?.try_get(0)?)
}
