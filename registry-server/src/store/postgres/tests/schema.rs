//! The schema, as people and newer programs see it.

use prost::Message as _;
use registry_proto::v1 as pb;

use super::*;
use crate::stored::ModelRecord;

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let schema = Schema::new().await;
    drop(schema.open().await);
    client(&schema.url).await.batch_execute("INSERT INTO schema_version (version) VALUES (99)").await.unwrap();
    let refused = PostgresStore::open(schema.options()).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooNew { found: 99, known: 1 }), "{refused}");
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_named_as_the_fault() {
    let refused = PostgresStore::open(options(in_schema("nowhere"))).await.unwrap_err();
    assert!(refused.to_string().contains("search_path"), "{refused}");
}

struct Puts(Vec<Put>);

#[async_trait]
impl Decision for Puts {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        for put in &self.0 {
            tx.put(put.clone()).await?;
        }
        Ok(Some(Bytes::new()))
    }
}

#[tokio::test]
async fn people_can_read_it() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let version = pb::Version {
        name: "namespaces/default/models/fraud/versions/7".to_owned(),
        framework: "pytorch".to_owned(),
        stage: pb::Stage::Production.into(),
        create_time: time(1_000_000_000),
        ..Default::default()
    };
    let model = pb::Model {
        name: "namespaces/default/models/fraud".to_owned(),
        team: "risk\0y".to_owned(),
        create_time: time(900_000_000),
        delete_time: time(1_100_000_000),
        ..Default::default()
    };
    let model = ModelRecord { model: Some(model), ..Default::default() };
    let artifact = pb::Artifact { name: "an artifact".to_owned(), ..Default::default() };
    let puts = vec![
        plain(Kind::Version, b"v", version.encode_to_vec()),
        plain(Kind::Model, b"m", model.encode_to_vec()),
        plain(Kind::Artifact, b"a", artifact.encode_to_vec()),
        plain(Kind::Label, b"l", Vec::new()),
    ];
    store.commit(Arc::new(Puts(puts))).await.unwrap();

    let client = client(&schema.url).await;
    let text = async |sql: &str| {
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    assert_eq!(
        text("SELECT concat_ws(' ', name, stage, framework, created AT TIME ZONE 'UTC', deleted) FROM versions").await,
        ["namespaces/default/models/fraud/versions/7 production pytorch 2001-09-09 01:46:40"]
    );
    assert_eq!(
        text("SELECT concat_ws(' ', name, team, extract(epoch FROM deleted)::bigint) FROM models").await,
        ["namespaces/default/models/fraud risk\u{fffd}y 1100000000"]
    );
    assert_eq!(text("SELECT name FROM artifacts").await, ["an artifact"]);

    // A stage that changes changes there as well.
    let archived = pb::Version { stage: pb::Stage::Archived.into(), ..version };
    let put = plain(Kind::Version, b"v", archived.encode_to_vec());
    store.commit(Arc::new(Puts(vec![put]))).await.unwrap();
    assert_eq!(text("SELECT stage FROM versions").await, ["archived"]);
}

#[tokio::test]
async fn everything_is_explained() {
    let schema = Schema::new().await;
    drop(schema.open().await);
    let client = client(&schema.url).await;
    let silent = "
        SELECT relname || coalesce('.' || attname, '')
        FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')
          AND (obj_description(pg_class.oid, 'pg_class') IS NULL OR col_description(pg_class.oid, attnum) IS NULL)";
    let silent = client.query(silent, &[]).await.unwrap();
    let silent: Vec<String> = silent.iter().map(|row| row.get(0)).collect();
    assert!(silent.is_empty(), "{silent:?}");
}
