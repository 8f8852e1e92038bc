//! What a decision hears of itself when nobody waits for it any more.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use super::Backend;
use crate::store::{Decision, Revision, StoreError, Transaction};

/// Says that it was begun, goes on when it is told to, and notes what it hears.
struct Noting {
    begun: Semaphore,
    told: Semaphore,
    heard: watch::Sender<Option<Revision>>,
    logs: bool,
}

impl Noting {
    fn new(logs: bool) -> Arc<Self> {
        let none = || Semaphore::new(0);
        Arc::new(Self { begun: none(), told: none(), heard: watch::Sender::new(None), logs })
    }
}

#[async_trait]
impl Decision for Noting {
    async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        self.begun.add_permits(1);
        self.told.acquire().await.unwrap().forget();
        Ok(self.logs.then(|| Bytes::from_static(b"something")))
    }

    fn committed(&self, revision: Revision) {
        self.heard.send_modify(|heard| assert_eq!(heard.replace(revision), None, "it hears it once"));
    }
}

pub(in crate::store) async fn a_decision_hears_that_it_is_durable_whoever_waits<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let left = Noting::new(true);
    let mut heard = left.heard.subscribe();
    {
        let mut waiting = store.commit(Arc::clone(&left) as _);
        tokio::select! {
            _ = &mut waiting => panic!("it was not told to go on"),
            begun = left.begun.acquire() => begun.unwrap().forget(),
        }
        // Its turn has come, and its caller goes.
    }
    left.told.add_permits(1);
    assert_eq!(*heard.wait_for(Option::is_some).await.unwrap(), Some(1));
    assert_eq!(store.log(0, 10).await.unwrap().len(), 1, "it is in the log by then");

    let awaited = Noting::new(true);
    awaited.told.add_permits(1);
    assert_eq!(store.commit(Arc::clone(&awaited) as _).await.unwrap(), Some(2));
    assert_eq!(*awaited.heard.borrow(), Some(2), "before its caller");

    let nothing = Noting::new(false);
    nothing.told.add_permits(1);
    assert_eq!(store.commit(Arc::clone(&nothing) as _).await.unwrap(), None);
    assert_eq!(*nothing.heard.borrow(), None);
}
