//! A port of its own for those who watch over the server: `/metrics`, `/healthz` and `/readyz`, and nothing of the registry.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use registry_gateway::{Origins, wanted_metrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server as Transport;

use super::Metrics;
use crate::connections::{self, Limits};

/// What is asked of.
#[derive(Clone)]
struct Watched {
    metrics: Metrics,
    origins: Arc<Origins>,
    healthy: watch::Receiver<bool>,
    draining: watch::Receiver<bool>,
}

/// Serves until the server has drained. Whoever reaches the port may ask, but no page of another site that makes a browser do so.
pub(crate) async fn serve(
    listener: TcpListener,
    limits: Limits,
    metrics: Metrics,
    origins: Origins,
    healthy: watch::Receiver<bool>,
    draining: watch::Receiver<bool>,
    mut over: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/metrics", get(tell))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Watched { metrics, origins: Arc::new(origins), healthy, draining });
    let connections = connections::accept(listener, limits, None, connections::Measures::default());
    let served = Transport::builder().accept_http1(true).add_routes(Routes::from(router)).serve_with_incoming_shutdown(
        connections,
        async move {
            // An error means that the server is gone.
            let _ = over.wait_for(|over| *over).await;
        },
    );
    if let Err(error) = served.await {
        tracing::error!(%error, "metrics can't be served");
    }
}

async fn tell(State(watched): State<Watched>, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(refusal) = watched.origins.refusal(&headers, &uri) {
        return (StatusCode::MISDIRECTED_REQUEST, format!("{refusal}\n")).into_response();
    }
    match watched.metrics.text(wanted_metrics(&headers)).await {
        Ok(told) => ([(CONTENT_TYPE, told.content_type)], told.text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(watched): State<Watched>) -> (StatusCode, &'static str) {
    match *watched.healthy.borrow() && !*watched.draining.borrow() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}
