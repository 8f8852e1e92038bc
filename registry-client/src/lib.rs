//! The typed client of Model Registry.
//!
//! ```no_run
//! use registry_client::RegistryClient;
//! use registry_client::known::{framework, model_type};
//!
//! # async fn example() -> Result<(), registry_client::Error> {
//! let client = RegistryClient::connect("http://127.0.0.1:50051").await?;
//!
//! client.create_model("fraud").owner("risk-team").model_type(model_type::CLASSIFICATION).await?;
//! let version = client
//!     .publish("out/", "fraud")
//!     .version_id("1.4.0")
//!     .framework(framework::XGBOOST, "2.1.0")
//!     .metric("validation", "auc", 0.93)
//!     .await?;
//! client.promote(&version.name).comment("beats 1.3.0 by two points").await?;
//!
//! client.pull("fraud@production", "models/fraud/").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Calls
//! Every RPC is a method of [`RegistryClient`] that takes what is required and returns a [`Call`]. Set what is optional on it,
//! then `.await` it. Messages are those of the contract, [`pb`]: what they mean, and which errors a call can end with, stands
//! there. A request message made by hand goes through [`RegistryClient::call`].
//!
//! A list is awaited for one page, or [streamed](Call::stream) for everything:
//!
//! ```no_run
//! # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
//! let mut versions = client.list_versions("fraud").order_by("number desc").stream();
//! while let Some(version) = versions.try_next().await? {
//!     println!("{} {:?}", version.name, version.stage());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Names
//! A model goes by `fraud`, `models/fraud` or `namespaces/risk/models/fraud`; a version by its model's name and its number
//! (`fraud/versions/7`), its id (`fraud/versions/1.4.0`) or an alias (`fraud@production`); an artifact by its version's and
//! its path (`fraud@production/artifacts/model.onnx`). Every method takes all of these. Answers carry whole names.
//!
//! # Transport
//! A [header](Builder::header), an [interceptor](Builder::interceptor) or any tower [layer](Builder::layer) is one line; so is a
//! [service](RegistryClient::with_service) of the program's own in place of connections. Endpoints that begin with `https://` need
//! the feature `tls`.
//!
//! # Files
//! [`publish`](RegistryClient::publish) makes a version of a folder, [`pull`](RegistryClient::pull) a folder of a version;
//! [`upload`](RegistryClient::upload) and [`download`](RegistryClient::download) move one file. Everything is streamed, and checked
//! against its SHA-256 on the other side. A file that is downloaded is there as a whole or not at all. A pulled folder says what it
//! holds, so that [`verify_folder`] can tell at any time, without a registry, whether that is still so.
//! With the feature `oci`, `export_oci` and `import_oci` exchange versions with registries that keep models as OCI artifacts.
//!
//! # What happens elsewhere
//! [`watch`](RegistryClient::watch) is a stream of every change, in order, without gaps, across restarts of the registry:
//!
//! ```no_run
//! use registry_client::{WatchItem, known::event_type};
//! # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
//! let mut watch = client.watch().parent("fraud").types([event_type::VERSION_STAGE_TRANSITIONED]).stream();
//! while let Some(item) = watch.try_next().await? {
//!     if let WatchItem::Events { revision, events, .. } = item {
//!         println!("{revision}: {} changes", events.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The right model, always
//! [`follow`](RegistryClient::follow) keeps the version behind a name loaded, replaces it when the name moves on, and never by one that
//! can't be loaded. A whole service:
//!
//! ```no_run
//! use registry_client::RegistryClient;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), registry_client::Error> {
//!     // The service may be up before the registry is, and without it.
//!     let client = RegistryClient::builder("http://127.0.0.1:50051").actor("scoring").connect_lazy()?;
//!     let followed = client
//!         .follow("fraud@production")
//!         .load(|folder, _version| std::fs::read(folder.join("model.onnx")))
//!         .check(|model| if model.is_empty() { Err("the model is empty") } else { Ok(()) })
//!         .start()
//!         .await?;
//!     for request in std::io::stdin().lines().map_while(Result::ok) {
//!         // One model for all of a request, whatever is promoted meanwhile.
//!         let serving = followed.current();
//!         println!("{request}: {} bytes of {}", serving.model.len(), serving.version().name);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! While it does so it tells the registry what it runs: [`list_instances`](RegistryClient::list_instances) and `registryctl status fraud`
//! show who runs which version, and who can't.
//!
//! # Features
//! None is on by default. `tls` is for endpoints that begin with `https://`; `oci` is for OCI image layouts; with `opentelemetry`, calls
//! belong to the traces of a program that uses it.
//!
//! # When it goes wrong
//! An [`Error`] is asked what it is ([`is_not_found`](Error::is_not_found), [`is_conflict`](Error::is_conflict), ...) or for its
//! [`reason`](Error::reason); its text is for people.
//!
//! A registry that is unavailable is asked again, with growing, random pauses, [for 30 seconds](Builder::retry_for) unless that is
//! set: so a restart fails no call and no transfer, whose time begins anew whenever it got on. A watch waits without end.
//! Nothing happens twice by that: the client gives every mutation a request id before its first attempt.
//!
//! # Policies and gates
//! Which versions may be promoted, what they have to show, and when, is said by [`policies`].
//!
//! # Several servers
//! Several servers on one database are one registry, whichever of them is asked:
//!
//! ```no_run
//! # use registry_client::RegistryClient;
//! # async fn example() -> Result<(), registry_client::Error> {
//! let client = RegistryClient::connect("http://10.0.0.1:50051,http://10.0.0.2:50051,http://10.0.0.3:50051").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Calls take turns among the servers that answer. What one of them can't do now, the next is asked at once, under the same
//! request id: only when none can, the pauses above begin. A watch goes on elsewhere behind the last revision it told, a
//! download behind the last byte it got, an upload from its start. A server that failed is set aside, for a few seconds at most
//! at a time, and used again once it says that it serves. So servers can be restarted one after the other, and no call fails.
//! [`endpoints`](RegistryClient::endpoints) says which of them are in use.
//!
//! # Resilience
//! How patience is kept from becoming load, and what else there is against servers that fail: hedged reads, a token from a file, metrics
//! and traces by one call of the [`Builder`] each, and all of it as tower layers for other clients, is in [`resilience`].

#[cfg(doctest)]
#[doc = include_str!("../docs/follow.md")]
mod guide_to_following {}

mod access;
mod admin;
mod approvals;
mod artifacts;
mod audit;
mod balance;
mod builder;
mod call;
mod claim;
mod client;
mod collision;
mod consume;
mod destination;
mod edit;
mod endpoint;
mod error;
mod folder;
mod follow;
mod instances;
mod items;
mod lifecycle;
mod line;
mod locks;
mod models;
mod names;
mod namespaces;
#[cfg(feature = "oci")]
mod oci;
mod outage;
mod parallel;
mod parts;
mod past;
mod plan;
pub mod policies;
mod pool;
mod precious;
mod progress;
mod publish;
mod pull;
mod receipt;
pub mod resilience;
mod retry;
mod search;
mod selection;
mod stamp;
mod subscriptions;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod verify_folder;
mod versions;
mod walk;
mod watch;
mod webhooks;
mod work;

pub use admin::{Backup, BackupStep};
pub use artifacts::{Download, DownloadRange, Source, Upload, artifact_type_of};
pub use builder::Builder;
pub use call::Call;
pub use client::RegistryClient;
pub use consume::{Consumed, Consumer};
pub use edit::{Edit, Editable};
pub use error::{Error, FailedGate, FieldViolation, ResourceInfo, StatusError, UnfitFile, Unreachable};
pub use follow::{Fetched, Follow, FollowAll, FollowState, FollowStatus, Followed, Follower, Serving};
pub use items::Items;
pub use names::{InvalidName, Kind, Name};
#[cfg(feature = "oci")]
pub use oci::{ExportOci, Exported, ImportOci, verify_oci};
pub use outage::Outage;
pub use plan::{Foreseen, PlannedFile, PublishPlan};
pub use progress::Progress;
#[doc(no_inline)]
pub use prost_types;
pub use publish::Publish;
pub use pull::{Pull, Pulled};
#[doc(no_inline)]
pub use registry_proto::v1 as pb;
pub use registry_proto::{known, resource, rpc};
pub use retry::RetryPolicy;
pub use selection::{LeftOut, LeftOutBy};
#[doc(no_inline)]
pub use tonic::{self, Code};
pub use transport::Transport;
#[doc(no_inline)]
pub use uuid::Uuid;
pub use verify_folder::{FolderProblem, FolderReport, VerifyFolder, verify_folder};
pub use watch::{Watch, WatchItem};
pub use work::{Job, Told, Work};
