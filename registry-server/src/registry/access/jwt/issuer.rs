//! An issuer, and its keys as this server knows them.
//!
//! They are fetched when the server starts, every hour, and for a token whose key is not known; the latter once a minute at most, so that
//! nobody can make the server ask an issuer for every token that they make up. While an issuer can't be reached its old keys stay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, sleep};

use super::discovery::{FetchError, Fetcher};
use super::keys::Keys;
use crate::rules::identity::Mapping;
use crate::settings::{self, IssuerUrl, SignatureAlgorithm};

/// How often the keys are fetched.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How often they are tried to be fetched when that has failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How often they are fetched, at most, for a key that is not known.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How often it is logged that they can't be.
const LOGGED: Duration = Duration::from_secs(60);

/// An issuer whose tokens let callers in.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) url: IssuerUrl,
    /// The same, as callers carry it.
    pub(super) name: Arc<str>,
    pub(super) audience: String,
    pub(super) algorithms: Vec<SignatureAlgorithm>,
    pub(super) leeway: Duration,
    pub(super) mapping: Mapping,
    fetcher: Fetcher,
    keys: Mutex<Arc<Keys>>,
    /// Whether they were fetched, or at least tried to be.
    tried: watch::Sender<bool>,
    /// When a key was last looked for that was not known. Whoever holds this looks.
    looked: Arc<AsyncMutex<Option<Instant>>>,
    /// When it was last logged that it can't be reached; none while it can.
    logged: Mutex<Option<Instant>>,
}

impl Issuer {
    pub(super) fn new(settings: &settings::Issuer, fetcher: Fetcher) -> Self {
        Self {
            url: settings.url.clone(),
            name: settings.url.text().into(),
            audience: settings.audience.clone(),
            algorithms: settings.algorithms.clone(),
            leeway: settings.leeway.0,
            mapping: settings.mapping(),
            fetcher,
            keys: Mutex::default(),
            tried: watch::Sender::new(false),
            looked: Arc::default(),
            logged: Mutex::default(),
        }
    }

    /// The key by which a token is signed that names it so. If it is not known, it is looked for: all who wait for one share a look.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>, algorithm: SignatureAlgorithm) -> Option<DecodingKey> {
        let known = || self.keys().find(id, algorithm).cloned();
        if let Some(key) = known() {
            return Some(key);
        }
        // Whoever calls a server that has just started waits for what it fetches anyhow.
        let mut tried = self.tried.subscribe();
        // An error means that this issuer is gone, which it is not.
        let _ = tried.wait_for(|tried| *tried).await;
        let mut looked = Arc::clone(&self.looked).lock_owned().await;
        // Somebody else may have found it meanwhile.
        if let Some(key) = known() {
            return Some(key);
        }
        if looked.is_some_and(|last| last.elapsed() < UNKNOWN) {
            return None;
        }
        *looked = Some(Instant::now());
        let issuer = Arc::clone(self);
        // In a task of its own: a caller that goes away takes nothing from those that wait with it.
        let looking = tokio::spawn(async move {
            issuer.refresh().await;
            drop(looked);
        });
        // An error means that the runtime stops.
        let _ = looking.await;
        known()
    }

    /// Keeps the keys new, for as long as this is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let refreshed = self.refresh().await;
            self.tried.send_replace(true);
            sleep(if refreshed { EVERY } else { AGAIN }).await;
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys. Answers whether that was done; if not, the old ones stay.
    async fn refresh(&self) -> bool {
        match self.fetcher.keys(&self.url).await {
            Ok(keys) => {
                *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                if self.logged.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
                    tracing::info!(issuer = %self.url, "the issuer's keys can be fetched again");
                }
                true
            }
            Err(error) => {
                self.log(&error);
                false
            }
        }
    }

    fn log(&self, error: &FetchError) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|last| last.elapsed() >= LOGGED) {
            *logged = Some(Instant::now());
            let known = !self.keys().is_empty();
            tracing::warn!(issuer = %self.url, %error, known, "the issuer's keys can't be fetched; those that are known stay");
        }
    }
}
