//! `AdminService`.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use registry_proto::v1 as pb;
use registry_proto::v1::admin_service_server::AdminService;
use registry_proto::v1::verify_response::Response as Verified;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::backup::verify::verify;
use crate::error::Error;
use crate::status::status;

/// How many messages of progress wait for the caller's connection; what does not fit is not told.
const WAITING: usize = 16;

#[tonic::async_trait]
impl AdminService for Services {
    type BackupStream = Pin<Box<dyn Stream<Item = Result<pb::BackupResponse, Status>> + Send>>;

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let messages = ReceiverStream::new(self.registry.backup(request.into_inner().skip_artifacts));
        let messages = messages.map(|message| match message {
            Ok(response) => Ok(pb::BackupResponse { response: Some(response) }),
            Err(error) => Err(status(&error)),
        });
        Ok(Response::new(self.until_draining(messages)))
    }

    type VerifyStream = Pin<Box<dyn Stream<Item = Result<pb::VerifyResponse, Status>> + Send>>;

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let skip_artifacts = request.into_inner().skip_artifacts;
        let registry = self.registry.clone();
        let (out, messages) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let told = out.clone();
            let progress = move |progress| {
                // The caller is behind, or gone: it will hear of the next step, or nobody will.
                let _ = told.try_send(Ok(Verified::Progress(progress)));
            };
            let verified = tokio::select! {
                verified = verify(&**registry.store(), registry.chunks(), skip_artifacts, progress) => verified,
                () = out.closed() => return,
            };
            // The caller may have gone just now.
            let _ = out.send(verified.map(Verified::Report)).await;
        });
        let messages = ReceiverStream::new(messages).map(|message| match message {
            Ok(response) => Ok(pb::VerifyResponse { response: Some(response) }),
            Err(error) => Err(status(&error)),
        });
        Ok(Response::new(self.until_draining(messages)))
    }
}

impl Services {
    /// A stream that ends with UNAVAILABLE when the server stops.
    fn until_draining<T: Send + 'static>(
        &self,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
        let mut draining = self.draining.clone();
        let drained = async move {
            // An error means that the server is gone.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        let draining = self.draining.clone();
        let end = futures::stream::once(async move { draining.borrow().then(|| Err(status(&Error::Draining))) });
        Box::pin(messages.take_until(drained).chain(end.filter_map(std::future::ready)))
    }
}
