//! What happens when the database, or the way to it, fails.

use tokio::task::JoinSet;

use super::proxy::{Plan, Proxy};
use super::*;
use crate::store::{FactView, KindLayout, Layout};

/// Commits under a store until it is told to stop; answers how many.
struct Load {
    tasks: JoinSet<Revision>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Load {
    fn start(store: &Arc<PostgresStore>, writers: usize) -> Self {
        let stop = tokio::sync::watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let (store, stopped) = (Arc::clone(store), stop.subscribe());
            tasks.spawn(async move {
                let mut count = 0;
                while !*stopped.borrow() {
                    store.commit(Increment::hinted()).await.unwrap().unwrap();
                    count += 1;
                }
                count
            });
        }
        Self { tasks, stop }
    }

    async fn stop(self) -> Revision {
        self.stop.send_replace(true);
        self.tasks.join_all().await.into_iter().sum()
    }
}

/// Waits until the store has committed some more.
async fn progress(store: &PostgresStore) {
    let mut head = store.head();
    let before = *head.borrow_and_update();
    head.wait_for(|head| *head > before + 20).await.unwrap();
}

#[tokio::test]
async fn connections_that_are_ended_cost_nobody_a_commit() {
    let schema = Schema::new().await;
    let store = Arc::new(schema.open().await);
    let load = Load::start(&store, 16);
    let admin = client(&server()).await;
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    for _ in 0..10 {
        progress(&store).await;
        // Nearly always in the middle of a transaction.
        admin.query_one(all, &[&schema.name]).await.unwrap();
    }
    progress(&store).await;
    let count = load.stop().await;
    assert_counted(&store, count).await;
}

pub(super) async fn through_a_proxy(schema: &Schema) -> (Arc<Proxy>, PostgresOptions) {
    let config: tokio_postgres::Config = schema.url.parse().unwrap();
    let proxy = Proxy::new(format!("127.0.0.1:{}", config.get_ports()[0])).await;
    let url = schema.url.replace(&format!(":{}", config.get_ports()[0]), &format!(":{}", proxy.port));
    (proxy, PostgresOptions { url, ..schema.options() })
}

#[tokio::test]
async fn a_commit_without_an_answer_happens_once() {
    let schema = Schema::new().await;
    let (proxy, options) = through_a_proxy(&schema).await;
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    let load = Load::start(&store, 8);
    for _ in 0..5 {
        for plan in [Plan::LoseRequest, Plan::LoseAnswer] {
            proxy.cut(plan).await;
            progress(&store).await;
        }
    }
    let count = load.stop().await;
    assert_counted(&store, count).await;
}

#[tokio::test]
async fn without_a_database_it_is_unavailable_and_afterwards_it_works_again() {
    let schema = Schema::new().await;
    let (proxy, options) = through_a_proxy(&schema).await;
    let options = PostgresOptions { patience: Duration::from_millis(300), ..options };
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    store.commit(Increment::hinted()).await.unwrap();
    let mut healthy = store.healthy();
    assert!(*healthy.borrow_and_update());

    proxy.set_open(false);
    let refused = store.commit(Increment::hinted()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.newest().await, Err(StoreError::Unavailable(_))));
    healthy.wait_for(|healthy| !healthy).await.unwrap();

    proxy.set_open(true);
    healthy.wait_for(|healthy| *healthy).await.unwrap();
    assert_eq!(store.commit(Increment::hinted()).await.unwrap(), Some(2));
    assert_counted(&store, 2).await;
}

#[tokio::test]
async fn of_several_hosts_the_one_that_works_is_used() {
    let schema = Schema::new().await;
    let (dead, options) = through_a_proxy(&schema).await;
    dead.set_open(false);
    let port = schema.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let url =
        options.url.replace(&format!("127.0.0.1:{}", dead.port), &format!("127.0.0.1:{},127.0.0.1:{port}", dead.port));
    let store = PostgresStore::open(PostgresOptions { url, ..options }).await.unwrap();
    assert_eq!(store.commit(Increment::hinted()).await.unwrap(), Some(1));
}

struct Panics;

#[async_trait]
impl Decision for Panics {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        tx.put(plain(COUNTER, KEY, vec![9; 8])).await?;
        panic!("a fault in a decision");
    }
}

#[tokio::test]
async fn a_decision_that_panics_ends_nobody_else() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    let (panicked, counted) = futures::join!(store.commit(Arc::new(Panics)), store.commit(Increment::hinted()));
    assert!(panicked.is_err());
    assert_eq!(counted.unwrap(), Some(1));
    assert_counted(&store, 1).await;
}

#[tokio::test]
async fn a_lane_that_ends_makes_the_store_unhealthy() {
    static LAYOUT: Layout = Layout {
        always_written: None,
        kinds: &[
            KindLayout {
                view: Some(FactView { about: "Counters", facts: &[], facts_of: |_| panic!("a fault") }),
                ..kind(COUNTER, "counters")
            },
            kind(COUNT, "counts"),
        ],
    };
    const fn kind(kind: Kind, name: &'static str) -> KindLayout {
        KindLayout { kind, name, slots: &[], view: None }
    }
    let schema = Schema::new().await;
    let options = PostgresOptions { layout: &LAYOUT, ..schema.options() };
    let store = PostgresStore::open(options).await.unwrap();
    let mut healthy = store.healthy();
    assert!(*healthy.borrow_and_update());
    let failed = store.commit(Increment::hinted()).await.unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed}");
    healthy.wait_for(|healthy| !healthy).await.unwrap();
    assert!(store.commit(Increment::hinted()).await.is_err());
}
