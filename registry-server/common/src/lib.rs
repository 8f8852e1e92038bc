//! What the server and the clients of Model Registry share beside the contract: how artifacts are cut, what their paths may be, where
//! bytes lie, how text from elsewhere is shown, what is MLflow's, and how a log is proved to be the one that it was.

pub mod chunks;
pub mod frames;
#[cfg(feature = "mlflow")]
pub mod mlflow;
pub mod paths;
#[cfg(feature = "places")]
pub mod places;
pub mod possession;
pub mod shown;
pub mod text;
#[cfg(feature = "tlog")]
pub mod tlog;
#[cfg(feature = "trace")]
pub mod trace_context;

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
