//! Access: who gets in, what they see, and that what is revoked is over.

mod certificates;
mod delegation;
mod denials;
mod leaks;
mod oidc;
mod possession;
mod rates;
mod revocation;
mod seeing;
mod tagged;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::pb::ErrorReason;
use registry_client::{Error, RegistryClient};
use registry_server::config::{AccessChoice, Config};
use registry_tests::TestServer;
use tonic::Code;

/// What a test may take for a promise of a second to be kept, on a machine that does other things as well.
const SECOND: Duration = Duration::from_secs(10);

/// A server that asks who calls, and the client of its admin.
struct Secured {
    server: TestServer,
    admin: RegistryClient,
}

/// Where the first token is written.
fn first_token(storage: &Path) -> PathBuf {
    storage.with_file_name("first-token")
}

fn secure(config: &mut Config) {
    config.access = AccessChoice::Tokens;
    config.bootstrap_token_file = Some(first_token(&config.storage_path));
}

impl Secured {
    async fn start() -> Self {
        let server = TestServer::with(secure).await;
        let token = std::fs::read_to_string(first_token(&server.storage())).unwrap();
        let admin = client(&server, token);
        Self { server, admin }
    }

    /// The client of somebody with a token of their own, who has these roles on these resources.
    async fn user(&self, principal: &str, grants: &[(&str, &str)]) -> RegistryClient {
        for (at, (role, resource)) in grants.iter().enumerate() {
            let id = format!("{}-{at}", principal.replace(['/', '@'], "-"));
            self.admin.create_binding(id, *role, [principal]).on(*resource).await.unwrap();
        }
        let token = self.admin.create_token(principal).await.unwrap();
        client(&self.server, token.secret)
    }
}

/// A client that shows a token, and gives itself another name.
fn client(server: &TestServer, token: impl AsRef<str>) -> RegistryClient {
    RegistryClient::builder(server.endpoint()).actor("users/admin").token(token).connect_lazy().unwrap()
}

/// A call that has to be refused since its caller lacks a permission.
#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, Error>) -> Error {
    let error = answer.expect_err("this has to be refused");
    assert_eq!(
        (error.code(), error.reason()),
        (Some(Code::PermissionDenied), Some(ErrorReason::PermissionDenied)),
        "{error:?}"
    );
    assert!(error.is_permission_denied() && error.to_string().contains("or it might not exist"), "{error}");
    error
}

/// A call that has to be refused since nobody knows who calls.
#[track_caller]
fn unauthenticated<T: std::fmt::Debug>(answer: Result<T, Error>, reason: ErrorReason) {
    let error = answer.expect_err("this has to be refused");
    assert_eq!((error.code(), error.reason()), (Some(Code::Unauthenticated), Some(reason)), "{error:?}");
}
