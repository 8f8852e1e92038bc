//! What refusals have to look like.

use std::fmt::Debug;

use registry_client::Error;
use registry_client::known::event_type;
use registry_client::pb::ErrorReason;
use tonic::Code;

use crate::{TestServer, events};

/// Runs something that must not change anything, and compares the whole log before and after. It may be noted as a request that
/// changed nothing.
///
/// # Panics
/// If there is another event than before.
pub async fn unchanged<T>(server: &TestServer, call: impl IntoFuture<Output = T>) -> T {
    let client = server.client();
    let before = events(&client).await;
    let answer = call.await;
    let mut after = events(&client).await;
    if after.last().is_some_and(|last| last.r#type == event_type::REQUEST_UNCHANGED) && after.len() > before.len() {
        after.pop();
    }
    assert_eq!(after, before, "something changed");
    answer
}

/// A call that has to be refused for a reason and to change nothing.
///
/// # Panics
/// If it is not, or does.
#[track_caller]
pub fn refused<'a, T: Debug>(
    server: &'a TestServer,
    call: impl IntoFuture<Output = Result<T, Error>> + 'a,
    code: Code,
    reason: ErrorReason,
) -> impl Future<Output = Error> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let before = events(&server.client()).await;
        let answer = call.await;
        assert_eq!(events(&server.client()).await, before, "{caller}: something changed");
        let error = answer.expect_err(&format!("{caller}: this has to be refused"));
        assert_eq!((error.code(), error.reason()), (Some(code), Some(reason)), "{caller}: {error:?}");
        error
    }
}

/// A call that has to be refused with INVALID_ARGUMENT, for exactly these fields, and to change nothing.
///
/// # Panics
/// If it is not, or does.
#[track_caller]
pub fn invalid<'a, T: Debug>(
    server: &'a TestServer,
    call: impl IntoFuture<Output = Result<T, Error>> + 'a,
    fields: &'a [(&'a str, ErrorReason)],
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    let refused = refused(server, call, Code::InvalidArgument, fields[0].1);
    async move {
        let error = refused.await;
        assert!(error.is_invalid_argument());
        let found: Vec<_> = error.violations().iter().map(|found| (found.field.as_str(), found.reason)).collect();
        assert_eq!(found, fields, "{caller}: {error:?}");
        assert!(error.violations().iter().all(|found| !found.description.is_empty()), "{caller}: {error:?}");
    }
}
