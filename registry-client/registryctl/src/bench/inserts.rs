//! What a PostgreSQL database does without a registry: a row for each version, each in a transaction of its own, as `pgbench` does it.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Failure;

/// A connection for each client, and a table of this run's own.
pub(super) struct Inserts {
    connections: Vec<(Client, Statement)>,
    table: String,
    next: AtomicU64,
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with its client, which hears of every error.
    tokio::spawn(connection);
    Ok(client)
}

/// What a database takes on the disk, without what it keeps of its log.
pub(super) async fn database_bytes(url: &str) -> Result<u64, Failure> {
    let row = connect(url).await?.query_one("SELECT pg_database_size(current_database())", &[]).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

impl Inserts {
    pub(super) async fn open(url: &str, run: &str, connections: usize) -> Result<Self, Failure> {
        let table = format!("bench_{run}");
        let first = connect(url).await?;
        first.batch_execute(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, version bytea NOT NULL)")).await?;
        let connections = (0..connections).map(async |_| {
            let client = connect(url).await?;
            let insert = client.prepare(&format!("INSERT INTO {table} VALUES ($1, $2)")).await?;
            Ok::<_, tokio_postgres::Error>((client, insert))
        });
        let connections = try_join_all(connections).await;
        let inserts = Self { connections: Vec::new(), table, next: AtomicU64::new(0) };
        match connections {
            Ok(connections) => Ok(Self { connections, ..inserts }),
            Err(error) => {
                first.batch_execute(&format!("DROP TABLE {}", inserts.table)).await?;
                Err(error.into())
            }
        }
    }

    pub(super) async fn write(&self, client: usize, version: &[u8]) -> Result<(), tokio_postgres::Error> {
        let (client, insert) = &self.connections[client % self.connections.len()];
        let id = self.next.fetch_add(1, Ordering::Relaxed).cast_signed();
        client.execute(insert, &[&id, &version]).await.map(drop)
    }

    pub(super) async fn close(&self) -> Result<(), Failure> {
        let (client, _) = &self.connections[0];
        Ok(client.batch_execute(&format!("DROP TABLE {}", self.table)).await?)
    }
}
