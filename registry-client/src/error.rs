//! Why a call came to nothing.

mod status;

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, TimeoutExpired};

pub use self::status::{FailedGate, FieldViolation, ResourceInfo, StatusError};
use crate::pb::ErrorReason;

/// Why a call came to nothing. The variants say what the caller can do about it.
///
/// Ask the predicates ([`is_not_found`](Self::is_not_found), [`is_conflict`](Self::is_conflict), ...) or, to tell finer,
/// [`reason`](Self::reason). The text is for people and may change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry refused. What to do depends on the code and the reason.
    #[error(transparent)]
    Status(#[from] Box<StatusError>),
    /// No connection could be made. Check the endpoints, or come back.
    #[error("can't connect to the registry: {}", .endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Connect {
        /// Where the registry was looked for, and what went wrong there.
        endpoints: Vec<Unreachable>,
    },
    /// The connection broke, or could not be made again. Whether a mutation happened is unknown: repeat it with the same
    /// request id.
    #[error(transparent)]
    Transport(Unreachable),
    /// No answer came before the deadline. Whether a mutation happened is unknown: repeat it with the same request id.
    #[error("the registry did not answer within the deadline")]
    DeadlineExceeded,
    /// An option of the client is no good. Mend it.
    #[error("{option}{}: {problem}", if value.is_empty() { String::new() } else { format!(" {value:?}") })]
    InvalidOption {
        /// Which option.
        option: &'static str,
        /// What it was set to; empty if it was not.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A local file can't be read or written.
    #[error("{}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A local path can't be an artifact's, or an artifact's path can't be a local one. Nothing was written to it.
    #[error("{}: {problem}", .path.display())]
    UnsafePath {
        /// The path at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Files that can't be artifacts. Nothing was sent: rename or remove them.
    #[error("can't be published:{}", lines(files))]
    UnfitFiles {
        /// All of them.
        files: Vec<UnfitFile>,
    },
    /// A file could not be published, while others may have been.
    #[error("{path}")]
    Upload {
        /// Its path as an artifact.
        path: String,
        /// Why.
        source: Box<Error>,
    },
    /// A version is not whole, or not what it is taken for: its state rules it out.
    #[error("{version} {problem}")]
    Incomplete {
        /// The version's name.
        version: String,
        /// What is with it.
        problem: String,
    },
    /// Another pull works in the folder, or has taken it over. Pull when it has ended, or into another folder.
    #[error("{}: another pull is at work there", .folder.display())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Files that no pull has put there, or that were changed since, are where those of the version would go. Nothing was changed: move
    /// them away, pull into another folder, or let them be [overwritten](crate::Pull::overwrite).
    #[error("{}: these files were not put there by a pull, or were changed since:{}", .folder.display(), lines(files))]
    WouldOverwrite {
        /// The folder.
        folder: PathBuf,
        /// All of them, by their paths in it.
        files: Vec<String>,
    },
    /// Two paths of a version are one and the same where they would go: that file system ignores case. Choose another one.
    #[error("{first} and {second} are the same file in {}, which ignores case", .folder.display())]
    PathCollision {
        /// Where they would go.
        folder: PathBuf,
        /// One of the paths: an artifact's, or a folder's of artifacts.
        first: String,
        /// The other one.
        second: String,
    },
    /// A manifest or receipt is malformed. Write it again.
    #[error("{}: {field}: {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What in it, for example `layers[2].digest`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes that arrived are not those that were stored. Transfer them again.
    #[error("{name}: the SHA-256 is {actual}, not {expected}")]
    DigestMismatch {
        /// The artifact.
        name: String,
        /// The digest that the bytes should have.
        expected: String,
        /// The digest that they have.
        actual: String,
    },
    /// Fewer or more bytes arrived than there are. Transfer them again.
    #[error("{name}: {actual} bytes instead of {expected}")]
    SizeMismatch {
        /// The artifact.
        name: String,
        /// How many there should be.
        expected: u64,
        /// How many came.
        actual: u64,
    },
    /// A version can't be loaded, or is no good, by the judgement of the program that [follows](crate::RegistryClient::follow) it.
    #[error("{version} can't be loaded")]
    Load {
        /// The version's name; of several that are loaded together, all of theirs.
        version: String,
        /// What the program's functions said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server broke the contract: it is of another version, or no registry.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
}

/// A file that can't be an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct UnfitFile {
    /// Its path in the folder.
    pub path: PathBuf,
    /// What is wrong with it, for people.
    pub problem: String,
}

/// Files, each on a line of its own.
fn lines<T: fmt::Display>(files: &[T]) -> String {
    files.iter().map(|file| format!("\n  {file}")).collect()
}

/// A server to which there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {problem}")]
pub struct Unreachable {
    /// Which one; `the connection` if it broke while a stream was read.
    pub endpoint: String,
    /// What went wrong, for people.
    pub problem: String,
}

impl Error {
    /// The gRPC code, for errors that have one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Status(status) => Some(status.code),
            Self::Connect { .. } | Self::Transport(_) => Some(Code::Unavailable),
            Self::DeadlineExceeded => Some(Code::DeadlineExceeded),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => Some(Code::DataLoss),
            Self::Upload { source, .. } => source.code(),
            Self::UnfitFiles { .. } => Some(Code::InvalidArgument),
            Self::Incomplete { .. } | Self::WouldOverwrite { .. } => Some(Code::FailedPrecondition),
            Self::FolderInUse { .. } => Some(Code::Aborted),
            Self::InvalidOption { .. }
            | Self::Io { .. }
            | Self::UnsafePath { .. }
            | Self::PathCollision { .. }
            | Self::Malformed { .. }
            | Self::Load { .. }
            | Self::Protocol(_) => None,
        }
    }

    /// Which of the registry's errors it is; `None` if it does not come from the registry.
    pub fn reason(&self) -> Option<ErrorReason> {
        self.status().map(|status| status.reason).filter(|reason| *reason != ErrorReason::Unspecified)
    }

    /// The fields at fault, of an invalid argument.
    pub fn violations(&self) -> &[FieldViolation] {
        self.status().map_or(&[], |status| &status.violations)
    }

    /// The gates that keep a version out of a stage, if that is what the error is.
    pub fn failed_gates(&self) -> &[FailedGate] {
        self.status().map_or(&[], |status| &status.failed_gates)
    }

    /// The registry's answer, if that is what the error is.
    pub fn status(&self) -> Option<&StatusError> {
        match self {
            Self::Status(status) => Some(status),
            Self::Upload { source, .. } => source.status(),
            _ => None,
        }
    }

    /// There is no such resource.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.code() == Some(Code::AlreadyExists)
    }

    /// The resource has changed since its etag was read, or somebody else works on the folder: look again, decide again.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(Code::Aborted)
    }

    /// The state of the resource, of the version or of a folder rules the call out.
    pub fn is_failed_precondition(&self) -> bool {
        self.code() == Some(Code::FailedPrecondition)
    }

    /// The request is wrong, see [`violations`](Self::violations); or files are.
    pub fn is_invalid_argument(&self) -> bool {
        self.code() == Some(Code::InvalidArgument)
    }

    /// The registry can't be reached, or can't work now; or the connection broke during an upload, of which the registry kept nothing.
    /// It was tried again already, as the policy says.
    pub fn is_unavailable(&self) -> bool {
        self.code() == Some(Code::Unavailable) || self.reason() == Some(ErrorReason::UploadIncomplete)
    }

    /// No answer came in time.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.code() == Some(Code::DeadlineExceeded)
    }

    /// The bytes, or the revisions, that were asked for are not there.
    pub fn is_out_of_range(&self) -> bool {
        self.code() == Some(Code::OutOfRange)
    }

    /// Bytes are not what their digest says: in the store, or as they arrived here.
    pub fn is_data_loss(&self) -> bool {
        self.code() == Some(Code::DataLoss)
    }

    /// A limit was hit: of the registry, of a quota, or of the size of messages.
    pub fn is_resource_exhausted(&self) -> bool {
        self.code() == Some(Code::ResourceExhausted)
    }

    /// Who calls may not do that.
    pub fn is_permission_denied(&self) -> bool {
        self.code() == Some(Code::PermissionDenied)
    }

    /// Who calls did not prove who that is.
    pub fn is_unauthenticated(&self) -> bool {
        self.code() == Some(Code::Unauthenticated)
    }

    /// Whether a mutation that ended like this happened is unknown. Repeat it with the same
    /// [request id](crate::Call::request_id), within a day: it happens once.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Transport(_) | Self::DeadlineExceeded | Self::Protocol(_) => true,
            Self::Status(status) => {
                matches!(status.code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
            }
            Self::Upload { source, .. } => source.is_outcome_unknown(),
            Self::Connect { .. }
            | Self::InvalidOption { .. }
            | Self::Io { .. }
            | Self::UnsafePath { .. }
            | Self::UnfitFiles { .. }
            | Self::Incomplete { .. }
            | Self::FolderInUse { .. }
            | Self::WouldOverwrite { .. }
            | Self::PathCollision { .. }
            | Self::Malformed { .. }
            | Self::Load { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. } => false,
        }
    }

    /// How long the registry asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.status().and_then(|status| status.retry_after)
    }

    /// Whether a long-lived stream should wait and go on: unlike a call it has nobody who would try again, so that it also
    /// sits out what else the registry says will pass.
    pub(crate) fn passes_by_itself(&self) -> bool {
        self.is_unavailable() || self.retry_after().is_some() || matches!(self, Self::DeadlineExceeded)
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::at("the connection", status)
    }
}

impl Error {
    /// What a status means that came from a server, or of the way to it.
    pub(crate) fn at(endpoint: &str, status: tonic::Status) -> Self {
        let broken = |problem| Self::Transport(Unreachable { endpoint: endpoint.to_owned(), problem });
        // A status that came over the wire has no source; one that tonic made of a failed connection has.
        if let Some(source) = status.source() {
            let timed_out = chain(source).any(|cause| cause.is::<TimeoutExpired>());
            return if timed_out { Self::DeadlineExceeded } else { broken(causes(source)) };
        }
        // Except of one whose stream was closed in good order with the answer left out: by a proxy, or a server that was stopped. The
        // registry says why it refuses, and neither of these two without details.
        if matches!(status.code(), Code::Unknown | Code::Cancelled) && status.details().is_empty() {
            return broken(status.message().to_owned());
        }
        Self::Status(Box::new(StatusError::decode(&status)))
    }
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

/// An error with all that led to it, but for what says only that there is a connection.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<_> = chain(error).map(ToString::to_string).collect();
    texts.dedup();
    let says_nothing = |text: &String| matches!(&**text, "transport error" | "tcp connect error");
    if !texts.iter().all(says_nothing) {
        texts.retain(|text| !says_nothing(text));
    }
    texts.join(": ")
}
