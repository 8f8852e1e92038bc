//! Commands of the user's that `follow` and `watch` run: they get the signals that this one gets, and do not outlive it.

mod signals;

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub(crate) use self::signals::{Signal, Signals};
use crate::Failure;

/// How many signals may come before a process has taken the first of them.
const SIGNALS: usize = 16;

/// What runs a command, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    /// The program and its arguments.
    words: Vec<String>,
    /// Standard output is for JSON: what the command prints goes to standard error.
    aside: bool,
    /// How long a process that is asked to end may take.
    grace: Duration,
    signals: broadcast::Sender<Signal>,
    running: TaskTracker,
}

/// The command did not do what it is there for.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {how}")]
pub(crate) struct Ended {
    program: String,
    how: String,
    exit_code: u8,
}

impl Ended {
    /// The command's own, or as shells say it of one that a signal ended.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl Runner {
    pub(crate) fn new(mut words: Vec<String>, aside: bool, grace: Duration) -> Self {
        // As for commands that end their options by it.
        if words.first().is_some_and(|first| first == "--") {
            words.remove(0);
        }
        Self { words, aside, grace, signals: broadcast::Sender::new(SIGNALS), running: TaskTracker::new() }
    }

    /// What people call the command.
    pub(crate) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Starts the command with these variables, and with this on its standard input.
    pub(crate) fn start<K: AsRef<OsStr>>(
        &self,
        variables: impl IntoIterator<Item = (K, String)>,
        input: Option<Vec<u8>>,
    ) -> Result<Process, Failure> {
        // Before the look at whether this is the end, so that what is started beside it hears of it.
        let signals = self.signals.subscribe();
        if self.running.is_closed() {
            return Err("this is the end".into());
        }
        let mut command = Command::new(self.program());
        command.args(&self.words[1..]).envs(variables).kill_on_drop(true);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        if self.aside {
            command.stdout(io::stderr());
        }
        // In a group of its own a terminal sends it nothing, so that it gets each signal once; and what it starts itself gets them, too.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| format!("{} can't be run: {error}", self.program()))?;
        let given = child.stdin.take().zip(input);
        let (process, stopped, end) = Process::new();
        let grace = self.grace;
        self.running.spawn(async move {
            let fed = async {
                if let Some((mut stdin, input)) = given {
                    // A command need not read it.
                    let _ = stdin.write_all(&input).await;
                }
                std::future::pending::<()>().await;
            };
            let status = tokio::select! {
                status = kept(&mut child, signals, stopped, grace) => status,
                () = fed => return,
            };
            // An error means that nobody wants to know.
            let _ = status.map(|status| end.send(Some(status)));
        });
        Ok(process)
    }

    /// Passes a signal on to all that run.
    pub(crate) fn pass_on(&self, signal: Signal) {
        // An error means that there are none.
        let _ = self.signals.send(signal);
    }

    /// The first time, ends all that run, by a signal. Nothing is started any more.
    pub(crate) fn end(&self, signal: Signal) {
        if self.running.close() {
            self.pass_on(signal);
        }
    }

    /// Waits until nothing runs any more, after [`end`](Self::end).
    pub(crate) async fn done(&self) {
        self.running.wait().await;
    }

    /// What a status says, unless it is that all went well.
    pub(crate) fn judged(&self, status: ExitStatus) -> Result<(), Ended> {
        if status.success() {
            return Ok(());
        }
        #[cfg(unix)]
        let signal =
            std::os::unix::process::ExitStatusExt::signal(&status).and_then(|signal| u8::try_from(signal).ok());
        #[cfg(not(unix))]
        let signal = None::<u8>;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let exit_code = code.or(signal.map(|signal| 128_u8.saturating_add(signal))).unwrap_or(1);
        Err(Ended { program: self.program().to_owned(), how: status.to_string(), exit_code })
    }
}

/// A process that runs. Dropped, it is asked to end, and waited for: there are no two in a place that has room for one.
#[derive(Debug)]
pub(crate) struct Process {
    /// Dropped when it is to end.
    stop: Option<oneshot::Sender<()>>,
    ended: Ending,
    /// Ends without a word when the process has. It is asked by threads that may wait.
    gone: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

/// Tells how a process has ended, once it has.
pub(crate) type Ending = watch::Receiver<Option<ExitStatus>>;

/// Where the end of a process is told.
struct End {
    status: watch::Sender<Option<ExitStatus>>,
    _gone: std::sync::mpsc::Sender<()>,
}

impl End {
    fn send(&self, status: Option<ExitStatus>) {
        self.status.send_replace(status);
    }
}

impl Process {
    fn new() -> (Self, oneshot::Receiver<()>, End) {
        let ((stop, stopped), (status, ended), (end, gone)) =
            (oneshot::channel(), watch::channel(None), std::sync::mpsc::channel());
        (Self { stop: Some(stop), ended, gone: gone.into() }, stopped, End { status, _gone: end })
    }

    /// When and how it ends.
    pub(crate) fn end(&self) -> Ending {
        self.ended.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Ok(gone) = self.gone.get_mut() {
            // Nothing is ever sent.
            let _ = gone.recv();
        }
    }
}

/// Waits for the end of a process.
pub(crate) async fn status(mut ended: Ending) -> Result<ExitStatus, Failure> {
    let status = ended.wait_for(Option::is_some).await.map(|status| *status);
    status.ok().flatten().ok_or_else(|| "the end of a command was not seen".into())
}

/// Waits for the end of a process, and passes signals on to it.
async fn kept(
    child: &mut Child,
    mut signals: broadcast::Receiver<Signal>,
    stopped: oneshot::Receiver<()>,
    grace: Duration,
) -> io::Result<ExitStatus> {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let signal = tokio::select! {
            status = child.wait() => return status,
            signal = next(&mut signals) => signal,
            _ = &mut stopped => Signal::Terminate,
        };
        signals::send(child, signal);
        if signal.ends() {
            break;
        }
    }
    let again = async { while !next(&mut signals).await.ends() {} };
    let ended = tokio::select! {
        ended = timeout(grace, child.wait()) => ended,
        // Twice means now.
        () = again => timeout(Duration::ZERO, child.wait()).await,
    };
    match ended {
        Ok(status) => status,
        Err(_) => {
            signals::kill(child);
            child.wait().await
        }
    }
}

async fn next(signals: &mut broadcast::Receiver<Signal>) -> Signal {
    loop {
        match signals.recv().await {
            Ok(signal) => return signal,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
