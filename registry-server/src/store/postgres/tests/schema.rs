//! The schema, as people and newer programs see it.

use crate::stored::ModelRecord;
use prost::Message as _;
use registry_proto::v1 as pb;

use super::*;
use crate::registry::kinds;
use crate::registry::models::ModelRow;
use crate::registry::resource::Resource as _;
use crate::store::conformance::BY_FLAG;
use crate::store::{Fact, FactType, FactValue, FactView, KindLayout, Layout, Place};

/// To open the store of a registry in a schema.
fn registry(schema: &Schema) -> PostgresOptions {
    PostgresOptions { layout: &kinds::LAYOUT, ..schema.options() }
}

#[tokio::test]
async fn another_schema_is_refused() {
    let schema = Schema::new().await;
    drop(schema.open().await);
    let client = client(&schema.url).await;
    let with_version = async |version: i32| {
        client.batch_execute("DELETE FROM schema_version").await.unwrap();
        client.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&version]).await.unwrap();
        PostgresStore::open(schema.options()).await.unwrap_err()
    };
    let refused = with_version(99).await;
    assert!(matches!(refused, StoreError::TooNew { found: 99, known: 5 }), "{refused}");
    // The tables of an earlier one are others.
    client.batch_execute("ALTER TABLE log RENAME COLUMN last_revision TO revision").await.unwrap();
    let refused = with_version(3).await;
    assert!(matches!(refused, StoreError::TooOld { found: 3, known: 4 }), "{refused}");
    assert!(refused.to_string().contains("earlier development version; make a new one"), "{refused}");
}

#[tokio::test]
async fn whether_there_is_a_store_is_found_out_without_making_one() {
    let schema = Schema::new().await;
    for _ in 0..2 {
        assert!(!PostgresStore::is_made(&schema.options()).await.unwrap());
    }
    drop(schema.open().await);
    assert!(PostgresStore::is_made(&schema.options()).await.unwrap());
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
    let store = PostgresStore::open(registry(&schema)).await.unwrap();
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
        plain(pb::Version::KIND, b"v", version.encode_to_vec()),
        plain(ModelRow::KIND, b"m", model.encode_to_vec()),
        plain(pb::Artifact::KIND, b"a", artifact.encode_to_vec()),
        plain(kinds::VERSION_ID, b"l", Vec::new()),
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
    let put = plain(pb::Version::KIND, b"v", archived.encode_to_vec());
    store.commit(Arc::new(Puts(vec![put]))).await.unwrap();
    assert_eq!(text("SELECT stage FROM versions").await, ["archived"]);
}

/// The columns of a view, and what is said of it.
async fn described(client: &Client, view: &str) -> (Vec<String>, String) {
    let columns = "SELECT column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
    let columns = client.query(columns, &[&view]).await.unwrap();
    let about = client.query_one("SELECT obj_description(to_regclass($1), 'pg_class')", &[&view]).await.unwrap();
    (columns.iter().map(|row| row.get(0)).collect(), about.get(0))
}

#[tokio::test]
async fn views_have_the_columns_that_they_had() {
    let schema = Schema::new().await;
    drop(PostgresStore::open(registry(&schema)).await.unwrap());
    let client = client(&schema.url).await;
    for (view, columns) in [
        ("models", "name team created updated deleted revision bytes"),
        ("versions", "name stage framework created updated deleted revision bytes"),
        ("artifacts", "name created revision bytes"),
    ] {
        assert_eq!(described(&client, view).await.0, columns.split(' ').collect::<Vec<_>>());
    }
}

/// Another program's kinds: ports with other facts, and counters with some.
static CHANGED: Layout = Layout {
    always_written: None,
    kinds: &[
        KindLayout {
            kind: PORT,
            name: "ports",
            slots: &[],
            view: Some(FactView {
                about: "Ports, or what's left of them",
                facts: &[
                    Fact { name: "founded", r#type: FactType::Time, about: "When" },
                    Fact { name: "town", r#type: FactType::Text, about: "The town" },
                ],
                facts_of: |_| vec![("founded", FactValue::Time(std::time::UNIX_EPOCH))],
            }),
        },
        KindLayout {
            kind: COUNTER,
            name: "counters",
            slots: &[],
            view: Some(FactView { about: "Counters", facts: &[], facts_of: |_| Vec::new() }),
        },
        KindLayout { kind: COUNT, name: "counts", slots: &[], view: None },
    ],
};

#[tokio::test]
async fn views_follow_the_kinds_without_a_migration() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    store.commit(Arc::new(Puts(vec![plain(PORT, b"p", b"Hull".to_vec())]))).await.unwrap();
    let client = client(&schema.url).await;
    assert_eq!(described(&client, "ports").await, (words("town revision bytes"), "All ports".to_owned()));
    // A row version that a statement did not touch keeps its id.
    let made = async || client.query_one("SELECT xmin::text FROM layout", &[]).await.unwrap().get::<_, String>(0);
    let first = made().await;
    drop(schema.open().await);
    assert_eq!(made().await, first);

    let options = PostgresOptions { layout: &CHANGED, ..schema.options() };
    let opened = futures::future::join_all((0..4).map(|_| PostgresStore::open(options.clone()))).await;
    let other = opened.into_iter().next().unwrap().unwrap();
    let second = made().await;
    assert_ne!(second, first);
    let about = "Ports, or what's left of them".to_owned();
    assert_eq!(described(&client, "ports").await, (words("founded town revision bytes"), about));
    assert_eq!(described(&client, "counters").await, (words("revision bytes"), "Counters".to_owned()));
    // What was written before stays readable, by people as well.
    other.commit(Arc::new(Puts(vec![plain(PORT, b"q", Vec::new())]))).await.unwrap();
    let sql = "SELECT concat_ws(' ', town, extract(epoch FROM founded)::int) FROM ports ORDER BY revision";
    let rows = client.query(sql, &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["Hull", "0"]);
    drop(schema.open().await);
    assert_eq!(described(&client, "ports").await.0, words("town revision bytes"));
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_fact_that_no_view_can_show_is_left_out() {
    static LAYOUT: Layout = Layout {
        always_written: None,
        kinds: &[KindLayout {
            kind: PORT,
            name: "ports",
            slots: &[],
            view: Some(FactView {
                about: "Ports",
                facts: &[Fact { name: "founded", r#type: FactType::Time, about: "When" }],
                facts_of: |payload| {
                    let years = Duration::from_secs(365 * 24 * 3600 * u64::from(payload[0]) * 100);
                    vec![("founded", FactValue::Time(std::time::UNIX_EPOCH + years))]
                },
            }),
        }],
    };
    let schema = Schema::new().await;
    let store = PostgresStore::open(PostgresOptions { layout: &LAYOUT, ..schema.options() }).await.unwrap();
    let puts = [79, 81].map(|century| plain(PORT, &[century], vec![century]));
    store.commit(Arc::new(Puts(puts.to_vec()))).await.unwrap();
    let sql = "SELECT extract(year FROM founded)::int FROM ports ORDER BY revision, founded";
    let rows = client(&schema.url).await.query(sql, &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<Option<i32>>>(), [Some(9864), None]);
}

/// What people see has no other check: nobody but them reads it.
#[tokio::test]
async fn what_is_kept_for_people_is_checked() {
    use crate::store::Flaw;
    let schema = Schema::new().await;
    let store = schema.open().await;
    let puts = [b"Hull", b"Kiel"].map(|town| plain(PORT, town, town.to_vec()));
    store.commit(Arc::new(Puts(puts.to_vec()))).await.unwrap();
    store.commit(Increment::hinted()).await.unwrap();
    assert_eq!(store.flaws(10).await.unwrap(), []);
    let client = client(&schema.url).await;
    let flaws = async |change: &str, back: &str| {
        client.batch_execute(change).await.unwrap();
        let flaws = store.flaws(10).await.unwrap();
        client.batch_execute(back).await.unwrap();
        flaws
    };
    let port =
        [Flaw { name: "ports Hull".to_owned(), detail: "what people see of it in the database is not what it says" }];
    let back = r#"UPDATE record SET facts = '{"town": "Hull"}' WHERE key = 'Hull'"#;
    let changed = flaws(r#"UPDATE record SET facts = '{"town": "Kingston"}' WHERE key = 'Hull'"#, back).await;
    assert_eq!(changed, port);
    assert_eq!(flaws("UPDATE record SET facts = NULL WHERE key = 'Hull'", back).await, port);
    let more = r#"UPDATE record SET facts = '{"town": "Hull", "mayor": "x"}' WHERE key = 'Hull'"#;
    assert_eq!(flaws(more, back).await, port);
    let unknown = "INSERT INTO record (kind, key, revision, payload) VALUES (99, 'what', 1, '')";
    let found = flaws(unknown, "DELETE FROM record WHERE kind = 99").await;
    assert_eq!(found, [Flaw { name: "kind 99 what".to_owned(), detail: "no record is of this kind" }]);
    let found = flaws("UPDATE store SET whole = false", "UPDATE store SET whole = true").await;
    assert_eq!(found[0].name, "store");
    assert_eq!(store.flaws(10).await.unwrap(), []);
}

#[tokio::test]
async fn only_places_that_need_it_are_rows_of_their_own() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    let place = |slot, value: &[u8]| Place { slot, value: value.to_vec() };
    let several = vec![place(BY_FLAG.slot, b"red-"), place(BY_FLAG.slot, b"blue-")];
    let puts = vec![
        Put { places: vec![place(BY_PORT.slot, b"hull")], ..plain(SHIP, b"a", Vec::new()) },
        Put { places: several, ..plain(SHIP, b"b", Vec::new()) },
    ];
    store.commit(Arc::new(Puts(puts))).await.unwrap();
    let client = client(&schema.url).await;
    let text = async |sql: &str| {
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let places = "SELECT slot || ' ' || convert_from(position, 'UTF8') FROM place ORDER BY position";
    assert_eq!(text(places).await, ["2 blue-b", "2 red-b"]);
    let slots = "SELECT convert_from(key || ' ' || slot_1, 'UTF8') FROM record WHERE slot_1 IS NOT NULL";
    assert_eq!(text(slots).await, ["a hull"]);
    store.commit(Arc::new(Puts(vec![plain(SHIP, b"b", Vec::new())]))).await.unwrap();
    assert!(text(places).await.is_empty());
}

#[tokio::test]
async fn everything_is_explained() {
    let schema = Schema::new().await;
    drop(PostgresStore::open(registry(&schema)).await.unwrap());
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
