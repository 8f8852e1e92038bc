//! Connections to the server that takes writes, whichever of the hosts it is, all with the same settings, and all to the same store.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::PostgresOptions;
use super::error::{Cause, Failure};
use super::home::{self, FIND, Found, Home, last_row, text};
use super::tls::Security;
use crate::store::{Layout, Revision, StoreError};

/// How long a silent connection is trusted before it is probed, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// The same for every connection. All statements are walks along primary keys: so the planner is kept from anything else, whatever
/// it believes of tables that it has not counted yet.
const SETTINGS: &str = "
    SET client_min_messages = warning;
    SET jit = off;
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET enable_material = off;
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 15000;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// A statement ends soon after its client has gone away. That costs nothing while all goes well, where the caller's time as a timeout
/// would cost each statement. PostgreSQL before 14, or on another system than Linux and a few, can't: there the timeout of all ends it.
const WATCH_THE_CLIENT: &str = "
    DO $$ BEGIN
        PERFORM set_config('client_connection_check_interval', '250ms', false);
    EXCEPTION WHEN undefined_object OR invalid_parameter_value THEN
    END $$";

/// What can be known of a database before it is known what is in it; and whether another client has had the session.
const LOOK: &str = "
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_schema() IS NULL, pg_backend_pid(),
        coalesce(current_setting('model_registry.session', true), ''),";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads: when it is dropped, the server stops what it does for it.
    Read,
    /// To hear of commits.
    Listen,
    /// Commits.
    Commit,
}

/// Statements that are prepared as a connection is made.
pub(super) trait Prepare: Sized + Send {
    fn prepare(client: &Client) -> impl Future<Output = Result<Self, Failure>> + Send;
}

/// No statements.
impl Prepare for () {
    async fn prepare(_: &Client) -> Result<(), Failure> {
        Ok(())
    }
}

/// A connection that was made a moment ago.
pub(super) struct Connected<P> {
    pub(super) connection: Connection,
    /// `None`: there is no store yet.
    pub(super) found: Option<Found>,
    pub(super) prepared: Result<P, Failure>,
}

/// An open connection; it is closed when it is dropped.
pub(super) struct Connection {
    client: Client,
    /// The process that serves it.
    backend: i32,
    home: Arc<Home>,
    /// The server warned of something since [`Connection::take_warning`] was asked last.
    warned: Arc<AtomicBool>,
    /// Something took so long that the connection can't be trusted any more.
    doubtful: AtomicBool,
    driver: JoinHandle<()>,
    limit: Duration,
    layout: &'static Layout,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for answers, but not longer than a statement may take: a server that is gone does not say so. If nobody waits for them
    /// any more, the connection is of no use to others, who would have to.
    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.limited_to(self.limit, work).await
    }

    pub(super) async fn limited_to<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let unanswered = Unanswered(&self.doubtful);
        let Ok(done) = tokio::time::timeout(limit, work).await else {
            return Err(Failure::broken("the database does not answer"));
        };
        std::mem::forget(unanswered);
        done
    }

    /// The kinds of the records that are read and written over it.
    pub(super) fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// The store that it led to when it was made.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn backend(&self) -> i32 {
        self.backend
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.doubtful.load(Ordering::Relaxed)
    }

    pub(super) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::Relaxed)
    }
}

/// Dropped, it marks its connection as one that something was asked over and not answered.
struct Unanswered<'a>(&'a AtomicBool);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes connections.
pub(super) struct Connector {
    /// One configuration for each host.
    hosts: Vec<Config>,
    tls: MakeRustlsConnect,
    /// The host that took the last connection: the first to be tried.
    last: AtomicUsize,
    connect_timeout: Duration,
    statement_timeout: Duration,
    patience: Duration,
    layout: &'static Layout,
    home: Arc<Home>,
}

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let invalid =
            |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("its URL can't be used: {error}"));
        let (url, security) = Security::of(&options.url)?;
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            invalid(&std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        let ports = config.get_ports();
        let hosts = config.get_hosts();
        if hosts.is_empty() || (ports.len() > 1 && ports.len() != hosts.len()) {
            return Err(invalid(&"it needs hosts, and a port for each of them, for all, or none"));
        }
        let hosts = hosts.iter().enumerate().map(|(at, host)| {
            let mut one = Config::new();
            match host {
                Host::Tcp(name) => one.host(name).ssl_mode(security.mode),
                // TLS is for the network; libpq does the same.
                Host::Unix(path) => one.host_path(path).ssl_mode(SslMode::Disable),
            };
            one.port(ports.get(at).or(ports.first()).copied().unwrap_or(5432))
                .application_name(config.get_application_name().unwrap_or("model-registry"))
                .ssl_negotiation(config.get_ssl_negotiation())
                .channel_binding(config.get_channel_binding())
                .connect_timeout(options.connect_timeout)
                .tcp_user_timeout(KEEP_ALIVE * PROBES)
                .keepalives_idle(KEEP_ALIVE)
                .keepalives_interval(KEEP_ALIVE)
                .keepalives_retries(PROBES);
            config.get_user().map(|user| one.user(user));
            config.get_password().map(|password| one.password(password));
            config.get_dbname().map(|name| one.dbname(name));
            config.get_options().map(|options| one.options(options));
            one
        });
        Ok(Self {
            hosts: hosts.collect(),
            tls: security.connector()?,
            last: AtomicUsize::new(0),
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            patience: options.patience,
            layout: options.layout,
            home: Arc::new(Home::new()),
        })
    }

    pub(super) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// A connection to the first host that takes writes, or would if it were not read-only; one for commits only to one that does.
    /// It tells `notified` of the revisions that the server notifies it of.
    pub(super) async fn connect<P: Prepare>(
        &self,
        purpose: Purpose,
        notified: Option<watch::Sender<Revision>>,
    ) -> Result<Connected<P>, Failure> {
        let first = self.last.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for at in (0..self.hosts.len()).map(|step| (first + step) % self.hosts.len()) {
            self.home.is_here()?;
            match self.connect_to(at, purpose, notified.clone()).await {
                Ok(connected) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(failure) => failures.push(failure.message),
            }
        }
        self.home.is_here()?;
        Err(Failure::broken(failures.join("; ")))
    }

    async fn connect_to<P: Prepare>(
        &self,
        host: usize,
        purpose: Purpose,
        notified: Option<watch::Sender<Revision>>,
    ) -> Result<Connected<P>, Failure> {
        let connecting = async { Ok(self.hosts[host].connect(self.tls.clone()).await?) };
        let (client, mut connection) = self.in_time(connecting).await?;
        let encoding = connection.parameter("server_encoding").unwrap_or_default().to_owned();
        let warned = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&warned);
        let driver = tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notice(notice))) => {
                        tracing::warn!(%notice, "the database warns");
                        noted.store(true, Ordering::Relaxed);
                    }
                    Some(Ok(AsyncMessage::Notification(notification))) => {
                        if let (Some(notified), Ok(revision)) = (&notified, notification.payload().parse()) {
                            notified.send_replace(revision);
                        }
                    }
                    Some(Ok(_)) => {}
                    // Whoever waits for an answer is told, and tells.
                    Some(Err(_)) | None => return,
                }
            }
        });
        let doubtful = AtomicBool::new(false);
        // The server ends what takes too long, and says so: give it the time to.
        let limit = self.statement_timeout + Duration::from_secs(1);
        let home = Arc::clone(&self.home);
        let mut connection =
            Connection { client, backend: 0, home, warned, doubtful, driver, limit, layout: self.layout };
        if encoding != "UTF8" {
            return Err(Failure::broken(format!("the database's encoding is {encoding}, and has to be UTF8")));
        }
        let settings = self.settings(purpose);
        let client = &connection.client;
        // In one round trip: who is far from the database makes few.
        let asking =
            async { Ok(futures::join!(client.simple_query(&settings), client.simple_query(FIND), P::prepare(client))) };
        let (looked, found, prepared) = self.in_time(asking).await?;
        let looked = looked?;
        let looked = last_row(&looked).ok_or_else(|| Failure::broken("the database does not say what it is"))?;
        let is = |column| Ok::<_, Failure>(text(looked, column)? == "t");
        if is(0)? {
            return Err(Failure::broken("the database takes no writes: it is a standby"));
        }
        if is(1)? && purpose == Purpose::Commit {
            return Err(Failure::broken("the database is read-only (default_transaction_read_only)"));
        }
        if is(2)? {
            return Err(Failure::broken("the schema in the database's search_path does not exist"));
        }
        if !text(looked, 4)?.is_empty() {
            return Err(home::pooled());
        }
        connection.backend = text(looked, 3)?.parse().map_err(Failure::damaged)?;
        let found = match found.map_err(Failure::from) {
            Ok(answer) => Some(Found::of(&answer)?),
            Err(failure) if failure.cause == Cause::NoTable && self.home.address().is_none() => None,
            Err(failure) => return Err(failure),
        };
        if let Some(found) = &found {
            self.home.check(&found.address, found.schema)?;
        }
        Ok(Connected { connection, found, prepared })
    }

    /// Waits for a step of making a connection: also a host that takes it and then says nothing must not keep us from the others.
    async fn in_time<T>(&self, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let done = tokio::time::timeout(self.connect_timeout, step).await;
        done.unwrap_or_else(|_| Err(Failure::broken("the database does not answer")))
    }

    /// Makes the settings of a session, and asks [`LOOK`].
    fn settings(&self, purpose: Purpose) -> String {
        let (timeout, session) = (self.statement_timeout.as_millis(), Uuid::new_v4());
        let own = match purpose {
            Purpose::Read => WATCH_THE_CLIENT.to_owned(),
            Purpose::Listen => String::new(),
            // A server that vanishes in a transaction holds the lock: the database must not wait for it for long.
            Purpose::Commit => format!("SET idle_in_transaction_session_timeout = {}", self.patience.as_millis()),
        };
        // A session that has a mark already is somebody else's.
        let mark = format!("{LOOK} set_config('model_registry.session', '{session}', false)");
        format!("{SETTINGS} SET statement_timeout = {timeout}; {own}; {mark}")
    }
}
