//! The signals that end a command, or tell it something, and how they reach another one.

use std::io;

use tokio::process::Child;

/// A signal that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// By convention: read your configuration again.
    HangUp,
    /// Ctrl-C.
    Interrupt,
    /// From whoever stops a job.
    Terminate,
}

impl Signal {
    /// Whether whoever gets it is to end.
    pub(crate) fn ends(self) -> bool {
        self != Self::HangUp
    }
}

/// The signals that this process gets, from the moment on that it listens for them.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    hang_up: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hang_up.recv() => Signal::HangUp,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Sends a signal to a process and all that it has started, unless it has ended.
#[cfg(unix)]
pub(super) fn send(child: &Child, signal: Signal) {
    use rustix::process::Signal as Sent;
    deliver(
        child,
        match signal {
            Signal::HangUp => Sent::HUP,
            Signal::Interrupt => Sent::INT,
            Signal::Terminate => Sent::TERM,
        },
    );
}

/// Ends them.
#[cfg(unix)]
pub(super) fn kill(child: &Child) {
    deliver(child, rustix::process::Signal::KILL);
}

#[cfg(unix)]
fn deliver(child: &Child, signal: rustix::process::Signal) {
    // A process that was not waited for keeps its number, so that nobody else can have it.
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // An error means that it has ended.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// The same where there is only Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Interrupt
    }
}

/// Without signals a process can only be ended, which is done when its time is up.
#[cfg(not(unix))]
pub(super) fn send(_child: &Child, _signal: Signal) {}

#[cfg(not(unix))]
pub(super) fn kill(child: &mut Child) {
    let _ = child.start_kill();
}
