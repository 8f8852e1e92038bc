//! An MLflow server, read over its REST API (`/api/2.0/mlflow`), as `mlflow.store.model_registry.rest_store` does.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt as _;

use crate::{Failure, Usage};

/// How often a request is made, while it is answered with what may go away.
const TRIES: u32 = 5;
/// The time allowed for an answer, and between two reads of a file.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where an MLflow server has artifacts that it stores for others.
const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// A server, and who calls it.
pub(super) struct Server {
    client: Client,
    /// Without a slash at its end.
    base: String,
    token: Option<String>,
    user: Option<(String, String)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Alias {
    pub(super) alias: String,
    pub(super) version: String,
}

/// A registered model.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    #[serde(default)]
    pub(super) aliases: Vec<Alias>,
}

/// A version of one.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) current_stage: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) run_link: String,
    #[serde(default)]
    pub(super) model_id: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
}

/// The metrics and parameters of a run.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Run {
    #[serde(default)]
    pub(super) metrics: Vec<Metric>,
    #[serde(default)]
    pub(super) params: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metric {
    pub(super) key: String,
    /// A number, or a text such as `NaN`.
    pub(super) value: Json,
}

#[derive(Debug, Deserialize)]
struct Files {
    #[serde(default)]
    files: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// There is none.
    #[error("{0}")]
    Missing(String),
    /// It is not what it should be.
    #[error("{0}")]
    Failed(String),
    /// Nothing else can be read either.
    #[error("{0}")]
    Unreachable(String),
}

impl Unread {
    fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(cause(&error))
    }
}

impl Server {
    /// The server at a URL, called as MLflow's own clients are told to by the environment.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut client = Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).redirect(Policy::none());
        if let Some(path) = variable("MLFLOW_TRACKING_SERVER_CERT_PATH") {
            let pem = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{path}: {error}"))?;
            client = client.tls_certs_merge(certificates);
        }
        let mut base = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let base = base.as_mut().filter(|url| url.query().is_none() && url.fragment().is_none());
        let base = base
            .ok_or_else(|| Usage(format!("{url:?} is no address of an MLflow server: http://HOST:PORT is expected")))?;
        let user = variable("MLFLOW_TRACKING_USERNAME").zip(variable("MLFLOW_TRACKING_PASSWORD"));
        let given = base.password().map(|password| (base.username().to_owned(), password.to_owned()));
        // So that no message has them.
        let _ = (base.set_username(""), base.set_password(None));
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client: client.build()?, base, token: variable("MLFLOW_TRACKING_TOKEN"), user: given.or(user) })
    }

    /// Where it is, without who calls it.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// All registered models.
    pub(super) async fn models(&self) -> Result<Vec<Model>, Unread> {
        self.all("registered-models/search", "registered_models", &[("max_results", "100")]).await
    }

    /// All versions of a model, by number.
    pub(super) async fn versions(&self, model: &str) -> Result<Vec<Version>, Unread> {
        // MLflow has no escapes, but two kinds of quotes.
        let quote = if model.contains('\'') { '"' } else { '\'' };
        let filter = format!("name = {quote}{model}{quote}");
        let query = [("filter", &*filter), ("order_by", "version_number ASC"), ("max_results", "200")];
        self.all("model-versions/search", "model_versions", &query).await
    }

    /// The metrics and parameters of a run, by its id.
    pub(super) async fn run(&self, id: &str) -> Result<Run, Unread> {
        let run = self.get("runs/get", &[("run_id", id)]).await?;
        decoded(run["run"]["data"].clone())
    }

    /// Where the files of a version are, as far as the server can say.
    pub(super) async fn location(&self, version: &Version) -> Result<String, Unread> {
        let query = [("name", &*version.name), ("version", &*version.version)];
        let mut uri = text(&self.get("model-versions/get-download-uri", &query).await?["artifact_uri"]);
        // A model of the tracking server, or a run, whose files are again somewhere.
        for _ in 0..4 {
            uri = if let Some(id) = uri.strip_prefix("models:/m-") {
                let model = self.get(&format!("logged-models/m-{id}"), &[]).await?;
                text(&model["model"]["info"]["artifact_uri"])
            } else if let Some((run, path)) = uri.strip_prefix("runs:/").and_then(|run| run.split_once('/')) {
                let run = self.get("runs/get", &[("run_id", run)]).await?;
                format!("{}/{path}", text(&run["run"]["info"]["artifact_uri"]).trim_end_matches('/'))
            } else {
                break;
            };
        }
        Ok(uri)
    }

    /// The path of files that the server stores itself, if they are at such a URI.
    pub(super) fn stored(&self, uri: &str) -> Option<String> {
        let path = match uri.strip_prefix("mlflow-artifacts:") {
            // Another host's are not this one's.
            Some(rest) => match rest.strip_prefix("//").filter(|rest| !rest.starts_with('/')) {
                Some(rest) => {
                    let (host, path) = rest.split_once('/')?;
                    let own = self.base.split_once("://")?.1;
                    Some(path).filter(|_| own.split('/').next() == Some(host))?
                }
                None => rest.trim_start_matches('/'),
            },
            None => uri.strip_prefix(&*self.base)?.strip_prefix(ARTIFACTS)?.strip_prefix('/')?,
        };
        Some(path.trim_end_matches('/').to_owned())
    }

    /// The paths of all files below such a path.
    pub(super) async fn files(&self, path: &str) -> Result<Vec<String>, Unread> {
        let mut folders = vec![String::new()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let whole = [path, &folder].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let request = self.client.get(format!("{}{ARTIFACTS}", self.base)).query(&[("path", &*whole)]);
            let listed: Files = self.send(request).await?.json().await.map_err(Unread::failed)?;
            for Listed { path: name, is_dir } in listed.files {
                // Some versions say the path below what was asked for, and some that from the top.
                let name = name.rsplit('/').next().unwrap_or_default();
                let below = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                // Refuse paths that lead out of the folder.
                registry_common::paths::check(&below).map_err(|why| Unread::Failed(format!("{below:?} {why}")))?;
                if is_dir { folders.push(below) } else { files.push(below) }
            }
        }
        Ok(files)
    }

    /// Writes the bytes of a file.
    pub(super) async fn fetch(&self, path: &str, to: &std::path::Path) -> Result<(), Unread> {
        let mut url =
            Url::parse(&format!("{}{ARTIFACTS}/", self.base)).map_err(|error| Unread::Failed(error.to_string()))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        let answer = self.send(self.client.get(url)).await?;
        let announced = answer.content_length();
        let mut bytes = answer.bytes_stream();
        let mut file = tokio::fs::File::create(to).await.map_err(Unread::failed)?;
        let mut size = 0;
        while let Some(piece) =
            bytes.try_next().await.map_err(|error| Unread::Failed(format!("{path}: {}", cause(&error))))?
        {
            size += piece.len() as u64;
            file.write_all(&piece).await.map_err(Unread::failed)?;
        }
        file.flush().await.map_err(Unread::failed)?;
        match announced {
            Some(announced) if announced != size => {
                Err(Unread::Failed(format!("{path}: {size} bytes came of {announced}")))
            }
            _ => Ok(()),
        }
    }

    /// Everything that a search finds.
    async fn all<T: DeserializeOwned>(&self, path: &str, key: &str, query: &[(&str, &str)]) -> Result<Vec<T>, Unread> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let mut page = self.get(path, &query).await?;
            if !page.is_object() {
                return Err(Unread::Failed(format!("{} does not answer as MLflow does", self.base)));
            }
            if let Some(found) = page.get_mut(key) {
                all.append(&mut decoded::<Vec<T>>(found.take())?);
            }
            let next = text(&page["next_page_token"]);
            match next {
                next if next.is_empty() => return Ok(all),
                next if next == token => return Err(Unread::Failed(format!("{path} does not get beyond a page"))),
                next => token = next,
            }
        }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Json, Unread> {
        let request = self.client.get(format!("{}/api/2.0/mlflow/{path}", self.base)).query(query);
        self.send(request).await?.json().await.map_err(Unread::failed)
    }

    /// Makes a request, again if the server is busy or its answer does not come.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Unread> {
        let request = match (&self.token, &self.user) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some((name, password))) => request.basic_auth(name, Some(password)),
            (None, None) => request,
        };
        let mut wait = Duration::from_millis(200);
        for tried in 1.. {
            let once = request.try_clone().ok_or_else(|| Unread::Failed("the request can't be repeated".to_owned()))?;
            let failed = match once.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let (status, url) = (answer.status(), answer.url().clone());
                    let said: Json = answer.json().await.unwrap_or_default();
                    let message = match said["message"].as_str() {
                        Some(message) => format!("{}: {message}", text(&said["error_code"])),
                        None => format!("{url} was answered with {status}"),
                    };
                    if status == StatusCode::NOT_FOUND {
                        return Err(Unread::Missing(message));
                    }
                    if !(status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS) {
                        return Err(Unread::Failed(message));
                    }
                    message
                }
                Err(error) => cause(&error),
            };
            if tried == TRIES {
                return Err(Unread::Unreachable(failed));
            }
            tokio::time::sleep(wait).await;
            wait *= 3;
        }
        unreachable!("the last try is answered")
    }
}

/// An error with what was behind it: by itself it says that sending failed.
fn cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn decoded<T: DeserializeOwned>(json: Json) -> Result<T, Unread> {
    serde_json::from_value(json)
        .map_err(|error| Unread::Failed(format!("an answer of MLflow's is not understood: {error}")))
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

impl Run {
    /// The metrics that are numbers.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        let number = |metric: &Metric| Some((metric.key.clone(), metric.value.as_f64()?));
        self.metrics.iter().filter_map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_stores_is_told_from_what_lies_elsewhere() {
        let server = Server::new("http://mlflow:5000/").unwrap();
        for (uri, path) in [
            ("mlflow-artifacts:/1/models/m-1/artifacts", Some("1/models/m-1/artifacts")),
            ("mlflow-artifacts:///1/a/", Some("1/a")),
            ("mlflow-artifacts://mlflow:5000/1/a", Some("1/a")),
            ("http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/1/a", Some("1/a")),
            ("mlflow-artifacts://other:5000/1/a", None),
            ("http://other/api/2.0/mlflow-artifacts/artifacts/1/a", None),
            ("http://mlflow:5000.other/api/2.0/mlflow-artifacts/artifacts/1/a", None),
            ("s3://bucket/1/a", None),
            ("/srv/mlruns/1/a", None),
        ] {
            assert_eq!(server.stored(uri).as_deref(), path, "{uri}");
        }
    }

    #[test]
    fn the_address_is_one_and_tells_no_password() {
        for bad in ["127.0.0.1:5000", "", "databricks", "sqlite:///x.db", "http://host?x=y", "http://host/#f"] {
            assert!(Server::new(bad).is_err(), "{bad}");
        }
        let server = Server::new("https://ana:s3cret@mlflow/sub/").unwrap();
        assert_eq!(server.url(), "https://mlflow/sub");
        assert_eq!(server.user, Some(("ana".to_owned(), "s3cret".to_owned())));
    }

    #[test]
    fn only_numbers_are_metrics() {
        let run = serde_json::json!({
            "metrics": [{ "key": "auc", "value": 0.9 }, { "key": "epochs", "value": 3 }, { "key": "loss", "value": "NaN" }],
            "params": [{ "key": "c", "value": "1.0" }],
        });
        let run: Run = serde_json::from_value(run).unwrap();
        assert_eq!(run.metrics(), BTreeMap::from([("auc".to_owned(), 0.9), ("epochs".to_owned(), 3.0)]));
    }
}
