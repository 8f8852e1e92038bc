//! Whether a deletion may still happen behind the back of whoever asked for it: one that got no answer may be carried out at any time
//! later, and so may one of which a gateway says only that it took too long, or a store that not all of its parts have done it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};

tokio::task_local! {
    /// How many deletions of this task are not settled.
    static UNSETTLED: Arc<AtomicUsize>;
}

/// What S3 says of an object that it does not delete, and will not.
const REFUSALS: &[&str] = &["AccessDenied", "NoSuchBucket", "NoSuchKey", SLOW_DOWN];
/// What it says if it has too much to do.
pub(super) const SLOW_DOWN: &str = "SlowDown";

/// Does something. Answers also whether all deletions are settled that object stores were asked for meanwhile: carried out or refused,
/// and none of them, nor any attempt that was made for them, can happen any more.
pub(crate) async fn settling<T>(work: impl Future<Output = T>) -> (T, bool) {
    let unsettled = Arc::<AtomicUsize>::default();
    let done = UNSETTLED.scope(Arc::clone(&unsettled), work).await;
    (done, unsettled.load(Ordering::Acquire) == 0)
}

/// A request that deletes, from when it is sent. If it is dropped, it stays unsettled.
#[derive(Debug)]
pub(super) struct Deletion(Arc<AtomicUsize>);

impl Deletion {
    /// `None` if the request deletes nothing, or nobody wants to know.
    pub(super) fn sent(method: &Method) -> Option<Self> {
        // S3 and Azure delete many objects with one POST.
        if ![Method::DELETE, Method::POST].contains(method) {
            return None;
        }
        let unsettled = UNSETTLED.try_with(Arc::clone).ok()?;
        unsettled.fetch_add(1, Ordering::AcqRel);
        Some(Self(unsettled))
    }

    /// Nothing of it can happen any more.
    pub(super) fn settle(self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether an answer settles a deletion.
pub(super) fn settles(method: &Method, status: StatusCode, body: &str) -> bool {
    let mut codes = codes(body);
    match status {
        // Of each object, how it went.
        status if status.is_success() && method == Method::POST => {
            let is_known = body.contains("<DeleteResult") || body.contains("HTTP/1.1 ");
            is_known && codes.all(|code| REFUSALS.contains(&code)) && !body.contains("HTTP/1.1 5")
        }
        StatusCode::REQUEST_TIMEOUT => false,
        status if status.is_server_error() => codes.next() == Some(SLOW_DOWN),
        _ => true,
    }
}

/// What S3 calls the errors in an answer.
pub(super) fn codes(body: &str) -> impl Iterator<Item = &str> {
    body.split("<Code>").skip(1).filter_map(|rest| Some(rest.split_once("</Code>")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>No.</Message></Error>")
    }

    #[test]
    fn only_an_answer_that_leaves_nothing_open_settles_a_deletion() {
        let result = |errors: &str| format!("<DeleteResult><Deleted><Key>a</Key></Deleted>{errors}</DeleteResult>");
        let table = [
            (Method::POST, 200, result(""), true),
            (Method::POST, 200, result(&code("AccessDenied")), true),
            (Method::POST, 200, result(&code("InternalError")), false),
            (Method::POST, 200, result(&[code("AccessDenied"), code("InternalError")].concat()), false),
            (Method::POST, 200, "<html>welcome</html>".to_owned(), false),
            (Method::POST, 202, "HTTP/1.1 202 Accepted HTTP/1.1 404 The specified blob".to_owned(), true),
            (Method::POST, 202, "HTTP/1.1 202 Accepted HTTP/1.1 500 InternalError".to_owned(), false),
            (Method::DELETE, 204, String::new(), true),
            (Method::POST, 403, code("AccessDenied"), true),
            (Method::DELETE, 404, String::new(), true),
            (Method::POST, 429, String::new(), true),
            (Method::POST, 503, code(SLOW_DOWN), true),
            // Garage says so when some of its nodes have done it; others say it when the next one behind them took too long.
            (Method::POST, 503, code("ServiceUnavailable"), false),
            (Method::POST, 503, String::new(), false),
            (Method::POST, 500, code("InternalError"), false),
            (Method::POST, 504, "<html>Gateway Timeout</html>".to_owned(), false),
            (Method::DELETE, 408, String::new(), false),
        ];
        for (method, status, body, settled) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(settles(&method, status, &body), settled, "{method} {status} {body}");
        }
    }

    #[tokio::test]
    async fn one_attempt_without_an_answer_is_enough() {
        let attempt = |settles: bool| async move {
            let sent = Deletion::sent(&Method::POST).filter(|_| settles);
            sent.map(Deletion::settle)
        };
        for (attempts, settled) in [(&[][..], true), (&[true, true], true), (&[false, true], false)] {
            let work = async {
                for settles in attempts {
                    attempt(*settles).await;
                }
            };
            assert_eq!(settling(work).await, ((), settled), "{attempts:?}");
        }
        let (broken_off, settled) = settling(async {
            let _sent = Deletion::sent(&Method::DELETE);
            let request = tokio::time::timeout(std::time::Duration::ZERO, std::future::pending::<()>());
            request.await
        })
        .await;
        assert!(broken_off.is_err() && !settled);
        assert!(Deletion::sent(&Method::GET).is_none() && Deletion::sent(&Method::POST).is_none());
    }
}
