//! Processes that print lines for as long as they run.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::soon;

/// A process that prints lines until it ends, or until it is killed when this is dropped.
#[derive(Debug)]
pub struct Printing {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Printing {
    /// Starts a command, whose output is read from now on.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (print, lines) = watch::channel(Vec::new());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                print.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        Self { child, lines }
    }

    /// Waits until all that it has printed so far is as it should be, and returns that.
    ///
    /// # Panics
    /// If it ends before that, or it takes too long.
    pub async fn until(&mut self, mut wanted: impl FnMut(&[String]) -> bool) -> Vec<String> {
        let lines = soon(self.lines.wait_for(|lines| wanted(lines))).await;
        lines.map(|lines| lines.clone()).unwrap_or_else(|_| panic!("it has ended"))
    }

    /// Waits for the first line that begins like this, and returns the rest of it.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub async fn line(&mut self, begin: &str) -> String {
        let lines = self.until(|lines| lines.iter().any(|line| line.starts_with(begin))).await;
        let mut rest = lines.iter().filter_map(|line| line.strip_prefix(begin));
        rest.next().expect("it was seen").to_owned()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// Waits until it has ended, and all of its output is there.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn end(mut self) -> (ExitStatus, Vec<String>) {
        // An error means that the output has come to its end.
        let _ = soon(self.lines.wait_for(|_| false)).await;
        (self.child.wait().expect("it ends"), self.printed())
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        // Both fail if it has ended, which those see who wait for its lines.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
