//! How often, and when, a call that found the registry unavailable is made again.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::Error;
use crate::pool::Route;
use crate::transport::Transport;

/// How often a call that found the registry unavailable is tried again, and after what time.
///
/// Only `UNAVAILABLE`, broken connections and uploads that they broke off are tried again. That is safe for mutations too: the client gives each of them a
/// request id before the first attempt, so that it happens once.
///
/// With several servers an attempt asks one after the other, and ends when it has asked them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one. 0 asks every server once.
    pub retries: u32,
    /// The longest wait before the first retry; it doubles with each further one.
    pub initial_backoff: Duration,
    /// The longest wait of all, unless the registry itself asks for a longer one.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    /// Five retries, spread over about three seconds.
    fn default() -> Self {
        Self { retries: 5, initial_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The wait after so many failures in a row. What the registry asks for is waited in any case.
    pub(crate) fn delay(&self, failures: u32, asked_for: Option<Duration>) -> Duration {
        self.delay_at(failures, asked_for, rand::random())
    }

    /// Full jitter: `random`, from 0 to 1, chooses among all waits up to the limit, so that the clients of a registry that
    /// comes back do not arrive together.
    fn delay_at(&self, failures: u32, asked_for: Option<Duration>, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let limit = self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        asked_for.unwrap_or_default() + limit.mul_f64(random)
    }

    /// Runs `attempt` on one server after the other until it ends well, or in a way that another attempt would not change. It
    /// waits whenever it has tried all servers.
    ///
    /// If the next attempt would start behind the deadline, the error there is says more than the deadline would.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut route: Route,
        call: &str,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(Transport) -> F,
    ) -> Result<T, Error> {
        let mut failures = 0u32;
        loop {
            let error = match attempt(route.next()).await {
                Err(error) if error.is_unavailable() => error,
                result => {
                    route.ended(&result);
                    return result;
                }
            };
            failures = failures.saturating_add(1);
            let pause = route.failed(failures, Some(&error), self);
            let late = deadline.is_some_and(|deadline| Instant::now() + pause.delay >= deadline);
            if pause.rounds > self.retries || late {
                return Err(error);
            }
            debug!(call, failures, delay = ?pause.delay, %error, "trying again");
            pause.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::ErrorReason;
    use crate::pool::Pause;
    use crate::{RegistryClient, StatusError};
    use tonic::Code;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_a_limit_and_never_undercut_what_the_registry_asks_for() {
        let policy = RetryPolicy { retries: 9, initial_backoff: 100 * MS, max_backoff: 500 * MS };
        for (failures, asked_for, random, expected) in [
            (1, None, 1.0, 100 * MS),
            (2, None, 1.0, 200 * MS),
            (3, None, 1.0, 400 * MS),
            (4, None, 1.0, 500 * MS),
            (u32::MAX, None, 1.0, 500 * MS),
            (3, None, 0.25, 100 * MS),
            (3, None, 0.0, Duration::ZERO),
            (1, Some(2000 * MS), 0.0, 2000 * MS),
            (1, Some(2000 * MS), 1.0, 2100 * MS),
        ] {
            assert_eq!(policy.delay_at(failures, asked_for, random), expected, "{failures} {asked_for:?} {random}");
        }
    }

    fn answer(code: Code, retry_after: Option<Duration>) -> Error {
        let status = StatusError {
            code,
            reason: ErrorReason::Unspecified,
            message: String::new(),
            violations: Vec::new(),
            resource: None,
            metadata: Default::default(),
            retry_after,
        };
        Error::Status(Box::new(status))
    }

    /// To so many servers, none of which is asked.
    fn route(servers: usize) -> Route {
        let endpoints: Vec<_> = (0..servers).map(|server| format!("http://{server}.example")).collect();
        RegistryClient::builder(endpoints.join(",")).connect_lazy().unwrap().route()
    }

    #[tokio::test]
    async fn waits_begin_when_all_servers_were_tried() {
        let policy = RetryPolicy { retries: 9, initial_backoff: Duration::ZERO, max_backoff: Duration::ZERO };
        let mut route = route(3);
        // The failures in a row, what each server asked for, the rounds that came to nothing, and the wait: the shortest that
        // was asked for will do.
        for (failures, asked_for, rounds, delay) in [
            (1, Some(7), 0, 0),
            (2, Some(5), 0, 0),
            (3, Some(6), 1, 5),
            (4, Some(4), 1, 0),
            (5, None, 1, 0),
            (6, Some(4), 2, 0),
            // Something came, and then it failed again: a new round.
            (1, Some(9), 0, 0),
            (2, Some(9), 0, 0),
            (1, Some(8), 0, 0),
            (2, Some(8), 0, 0),
            (3, Some(8), 1, 8),
        ] {
            route.next();
            let error = answer(Code::Unavailable, asked_for.map(|ms| ms * MS));
            let pause = route.failed(failures, Some(&error), &policy);
            assert_eq!(pause, Pause { rounds, delay: delay * MS }, "{failures} failures, {asked_for:?}");
        }
    }

    #[tokio::test]
    async fn only_what_is_unavailable_is_tried_again() {
        let policy = RetryPolicy { retries: 2, initial_backoff: Duration::ZERO, max_backoff: Duration::ZERO };
        for (code, servers, attempts) in [
            (Code::Unavailable, 1, 3),
            (Code::Unavailable, 3, 9),
            (Code::Internal, 1, 1),
            (Code::Internal, 3, 1),
            (Code::Aborted, 1, 1),
            (Code::DeadlineExceeded, 1, 1),
            (Code::ResourceExhausted, 1, 1),
            (Code::NotFound, 1, 1),
        ] {
            let mut made = 0;
            let attempt = |_| {
                made += 1;
                async move { Err::<(), _>(answer(code, None)) }
            };
            let error = policy.run(route(servers), "test", None, attempt).await.unwrap_err();
            assert_eq!((error.code(), made), (Some(code), attempts), "{servers} servers");
        }
    }

    #[tokio::test]
    async fn a_wait_beyond_the_deadline_is_not_begun() {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut made = 0;
        let attempt = |_| {
            made += 1;
            async { Err::<(), _>(answer(Code::Unavailable, Some(Duration::from_secs(60)))) }
        };
        let error = RetryPolicy::default().run(route(1), "test", Some(deadline), attempt).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert_eq!(made, 1);
    }

    /// The registry says so when it sees an upload end early, which means that the connection broke.
    #[tokio::test]
    async fn an_upload_that_was_broken_off_on_its_way_is_tried_again() {
        let policy = RetryPolicy { retries: 2, initial_backoff: Duration::ZERO, max_backoff: Duration::ZERO };
        let mut made = 0;
        let attempt = |_| {
            made += 1;
            let Error::Status(mut status) = answer(Code::Cancelled, None) else { unreachable!("it is a status") };
            status.reason = ErrorReason::UploadIncomplete;
            async { Err::<(), _>(Error::Status(status)) }
        };
        let error = policy.run(route(1), "test", None, attempt).await.unwrap_err();
        assert_eq!((error.reason(), made), (Some(ErrorReason::UploadIncomplete), 3));
    }
}
