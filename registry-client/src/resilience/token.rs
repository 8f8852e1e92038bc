//! A token that is read from a file, and again when the file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::time::Instant;
use tracing::warn;

use super::carry::{Answer, Carry, Request, layer, send};
use crate::{Error, Transport};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Adds `authorization: Bearer ...` to every call, with a token from a file: as Kubernetes, Vault and others lay down tokens that change.
///
/// The file is read at once, and again when a call is made more than a second later. If it can't be read any more, or what it has is no
/// token, the last good one is used, and a warning logged. Space at the ends of the file does not count. The token is never logged.
#[derive(Clone)]
pub struct TokenLayer {
    path: PathBuf,
    token: Arc<Mutex<Token>>,
}

struct Token {
    header: HeaderValue,
    read: Instant,
    /// What was wrong at the last look, so that it is said once.
    problem: Option<String>,
}

impl TokenLayer {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it can't be read, or what it has is empty or can't be sent in a header.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let header = std::fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| header(&bytes));
        match header {
            Ok(header) => {
                let token = Token { header, read: Instant::now(), problem: None };
                Ok(Self { path, token: Arc::new(Mutex::new(token)) })
            }
            Err(problem) => {
                let value = path.display().to_string();
                Err(Error::InvalidOption { option: "token_file", value, problem })
            }
        }
    }

    /// The header of the next call.
    async fn header(&self) -> HeaderValue {
        {
            let mut token = self.token();
            if token.read.elapsed() < LOOK {
                return token.header.clone();
            }
            // The others go on with what there is.
            token.read = Instant::now();
        }
        let found = tokio::fs::read(&self.path).await.map_err(|error| error.to_string());
        self.found(found.and_then(|bytes| header(&bytes)))
    }

    fn found(&self, found: Result<HeaderValue, String>) -> HeaderValue {
        let mut token = self.token();
        match found {
            Ok(header) => (token.header, token.problem) = (header, None),
            Err(problem) if token.problem.as_ref() == Some(&problem) => {}
            Err(problem) => {
                warn!(path = %self.path.display(), problem, "the token can't be read, the last good one is used");
                token.problem = Some(problem);
            }
        }
        token.header.clone()
    }

    fn token(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

layer!(TokenLayer);

impl Carry for TokenLayer {
    async fn carry(self, inner: Transport, mut request: Request) -> Answer {
        let header = self.header().await;
        request.headers_mut().insert(AUTHORIZATION, header);
        send(inner, request).await
    }
}

impl fmt::Debug for TokenLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLayer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The header with what a file has as the token, or what is wrong with it. That does not show it.
fn header(file: &[u8]) -> Result<HeaderValue, String> {
    let token = file.trim_ascii();
    if token.is_empty() {
        return Err("has no token: it is empty".to_owned());
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("has no token: only visible ASCII characters without spaces can be one".to_owned());
    }
    let mut header = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        for (file, expected) in [
            (&b"abc.def-1"[..], Some("Bearer abc.def-1")),
            (b"  abc\r\n", Some("Bearer abc")),
            (b"", None),
            (b" \n", None),
            (b"two words", None),
            (b"two\nlines", None),
            (b"z\xc3\xb6e", None),
        ] {
            let header = header(file);
            assert_eq!(header.as_ref().ok().map(|header| header.to_str().unwrap()), expected, "{file:?}");
            assert!(header.is_err() || header.is_ok_and(|header| header.is_sensitive()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_read_again_and_the_last_good_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, problem) in [(None, "No such file"), (Some(""), "it is empty")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = TokenLayer::open(&path).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option: "token_file", .. }), "{error:?}");
            assert!(error.to_string().contains(problem), "{error}");
        }
        std::fs::write(&path, "one\n").unwrap();
        let layer = TokenLayer::open(&path).unwrap();
        let sent = async || layer.header().await.to_str().unwrap().to_owned();
        // What is in the file, how many milliseconds later, and what is sent then.
        for (content, ms, expected) in [
            (Some("two"), 999, "Bearer one"),
            (Some("two"), 1, "Bearer two"),
            (Some("three"), 500, "Bearer two"),
            (Some(""), 500, "Bearer two"),
            (None, 1000, "Bearer two"),
            (Some("four"), 1000, "Bearer four"),
        ] {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            tokio::time::advance(Duration::from_millis(ms)).await;
            assert_eq!(sent().await, expected, "{content:?} after {ms} ms more");
        }
        assert!(!format!("{layer:?}").contains("four"));
    }
}
