//! A service that scores rows with the model in production, whichever that is at the moment: an ONNX file with a linear model.
//!
//! ```text
//! cargo run -p registry-client --example scoring_service -- breast-cancer@production 127.0.0.1:8080
//! curl 127.0.0.1:8080/score -H 'content-type: application/json' -d '[[17.99, 10.38, ...], ...]'
//! curl 127.0.0.1:8080/health
//! ```
//!
//! Promote another version, and the next request is answered by that one, while none fails. A version that can't be loaded, or fails the
//! check, is never used. `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is `http://127.0.0.1:50051`.

mod onnx;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use registry_client::{Followed, RegistryClient};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::onnx::Model;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "breast-cancer@production".to_owned());
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    // The service may be up before the registry is, and without it.
    let client = RegistryClient::builder(endpoint).actor("scoring-service").connect_lazy()?;
    let followed = client
        .follow(name)
        .load(|folder, _| Model::open(&folder.join("model.onnx")))
        .check(smoke)
        .wait(true)
        .start()
        .await?;
    let routes = Router::new().route("/score", post(score)).route("/health", get(health));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let followed = Arc::new(followed);
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move { terminate.recv().await.unwrap_or_default() };
    axum::serve(listener, routes.with_state(Arc::clone(&followed))).with_graceful_shutdown(stop).await?;
    // Whoever waits for all instances need not wait for this one.
    followed.stop().await;
    Ok(())
}

/// A model that has no number for a row of zeros has none for others.
fn smoke(model: &Model) -> Result<(), String> {
    let scores = model.score(&vec![0.0; model.features()]).map_err(|problem| problem.to_string())?;
    let finite = scores.iter().all(|score| score.is_finite());
    if finite { Ok(()) } else { Err(format!("a row of zeros scores {scores:?}")) }
}

type Following = State<Arc<Followed<Model>>>;

/// Scores rows, all of them by one model.
async fn score(
    State(followed): Following,
    Json(rows): Json<Vec<Vec<f32>>>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let serving = followed.current();
    let scores: Result<Vec<_>, _> = rows.iter().map(|row| serving.model.score(row)).collect();
    let scores = scores.map_err(|problem| (StatusCode::UNPROCESSABLE_ENTITY, problem.to_string()))?;
    Ok(Json(json!({ "version": serving.version().name, "classes": serving.model.classes(), "scores": scores })))
}

/// How the service is doing. It is ready whenever it answers, since there is a model by then.
async fn health(State(followed): Following) -> Json<Value> {
    let status = followed.status();
    Json(json!({
        "state": format!("{:?}", status.state),
        "serving": status.serving,
        "desired": status.desired,
        "stale": status.is_stale(),
        "error": status.error,
    }))
}
