//! Connections to the server that takes writes, whichever of the hosts it is, all with the same settings.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresOptions;
use super::error::Failure;
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

/// An open connection; it is closed when it is dropped.
pub(super) struct Connection {
    client: Client,
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
    layout: &'static Layout,
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
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
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
            layout: options.layout,
        })
    }

    /// A connection to the first host that takes writes. It tells `notified` of the revisions that the server notifies it of.
    pub(super) async fn connect(&self, notified: Option<watch::Sender<Revision>>) -> Result<Connection, Failure> {
        let first = self.last.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for at in (0..self.hosts.len()).map(|step| (first + step) % self.hosts.len()) {
            // Also a host that takes the connection and then says nothing must not keep us from the others.
            let connected = tokio::time::timeout(self.connect_timeout, self.connect_to(at, notified.clone())).await;
            match connected.unwrap_or_else(|_| Err(Failure::broken("the database does not answer"))) {
                Ok(connection) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(failure) => failures.push(failure.message),
            }
        }
        Err(Failure::broken(failures.join("; ")))
    }

    /// A connection for reads: when it is dropped, the server stops what it does for it.
    pub(super) async fn connect_for_reads(&self) -> Result<Connection, Failure> {
        let connection = self.connect(None).await?;
        connection.client.batch_execute(WATCH_THE_CLIENT).await?;
        Ok(connection)
    }

    async fn connect_to(&self, host: usize, notified: Option<watch::Sender<Revision>>) -> Result<Connection, Failure> {
        let (client, mut connection) = self.hosts[host].connect(self.tls.clone()).await?;
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
        let connection = Connection { client, warned, doubtful, driver, limit, layout: self.layout };
        if encoding != "UTF8" {
            return Err(Failure::broken(format!("the database's encoding is {encoding}, and has to be UTF8")));
        }
        let timeout = self.statement_timeout.as_millis();
        let settings = format!("{SETTINGS} SET statement_timeout = {timeout}");
        connection.client.batch_execute(&settings).await?;
        Ok(connection)
    }
}
