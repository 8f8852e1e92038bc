//! A look at something that changes, shared by all who ask while another looks: many who ask at once make no queue of looks.

use std::future::Future;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The looks at one thing.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// When the last one began that came to its end. Whoever holds this looks.
    began: Mutex<Option<Instant>>,
}

impl Shared {
    /// Looks, unless another's look began after this was called, and so saw all that was to be seen then.
    ///
    /// # Errors
    /// Those of its own look. One that failed is nobody else's.
    pub(super) async fn look<E>(&self, look: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let asked = Instant::now();
        let mut last = self.began.lock().await;
        if last.is_some_and(|began| began > asked) {
            return Ok(());
        }
        let began = Instant::now();
        look.await?;
        *last = Some(began);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Counted;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const LOOK: Duration = Duration::from_millis(10);

    /// Looks that take a while; those with these numbers fail.
    async fn look(shared: &Shared, looks: &Counted<Vec<Instant>>, failing: &[usize]) -> Result<(), usize> {
        shared
            .look(async {
                let number = {
                    let mut looks = looks.lock().unwrap();
                    looks.push(Instant::now());
                    looks.len()
                };
                sleep(LOOK).await;
                if failing.contains(&number) { Err(number) } else { Ok(()) }
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_the_look_that_begins_after_they_asked() {
        let (shared, looks) = (Shared::default(), Counted::default());
        let many = futures::future::join_all((0..100).map(|_| look(&shared, &looks, &[]))).await;
        assert!(many.iter().all(Result::is_ok));
        // The first did not know of the others.
        assert_eq!(looks.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_later_looks_anew() {
        let (shared, looks) = (Shared::default(), Counted::default());
        let start = Instant::now();
        for _ in 0..3 {
            look(&shared, &looks, &[]).await.unwrap();
        }
        assert_eq!(*looks.lock().unwrap(), [start, start + LOOK, start + 2 * LOOK]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_failed_is_nobody_elses() {
        let (shared, looks) = (Shared::default(), Counted::default());
        let many = futures::future::join_all((0..10).map(|_| look(&shared, &looks, &[2]))).await;
        assert_eq!(many.iter().filter(|answer| answer.is_err()).count(), 1);
        assert_eq!(looks.lock().unwrap().len(), 3);
    }
}
