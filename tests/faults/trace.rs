//! Servers under strace; and what it writes with `-f -yy`: system calls, each with the lines between which it took place.

use std::path::Path;
use std::process::Command;

use registry_tests::{PATIENCE, until};

/// The command that runs a server under strace with further options; what it sees goes to a file. The process is that of the server,
/// with which strace ends.
pub(crate) fn command(server: &Command, options: &[&str], file: &Path) -> Command {
    let strace = Command::new("strace").arg("-V").output();
    assert!(strace.is_ok_and(|strace| strace.status.success()), "strace is missing: tests/run.sh installs it");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-yy", "-e", "signal=none"]).args(options).arg("-o").arg(file);
    command.arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        assert_eq!(value, None, "the settings of the tests are arguments");
        command.env_remove(name);
    }
    command
}

/// A system call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Everything between the parentheses, and the result.
    pub(crate) text: String,
    /// The line in which it began.
    pub(crate) begin: usize,
    /// The line in which it had ended; `None` if the process was killed first.
    pub(crate) end: Option<usize>,
}

impl Call {
    /// What its first argument, a file descriptor, stands for: `9</data/store/db>` is `/data/store/db`. The `->` between a
    /// socket's addresses is no end.
    pub(crate) fn target(&self) -> &str {
        let arguments = self.text.split_once('<').map_or("", |(_, target)| target);
        let end = arguments.match_indices('>').find(|(at, _)| !arguments[..*at].ends_with('-')).map_or(0, |(at, _)| at);
        &arguments[..end]
    }

    pub(crate) fn is_socket_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "sendto" | "sendmsg") && self.target().starts_with("TCP")
    }

    pub(crate) fn is_write_to(&self, file: &str) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2")
            && self.target().ends_with(file)
    }

    /// Which bytes of the file a `pwrite64` writes: its last two arguments say how many, and where.
    pub(crate) fn bytes(&self) -> std::ops::Range<u64> {
        let arguments = self.text.rsplit_once(')').map_or(self.text.as_str(), |(arguments, _)| arguments);
        let mut last = arguments.rsplit(", ").map_while(|number| number.parse::<u64>().ok());
        let place = (self.name == "pwrite64").then(|| Some((last.next()?, last.next()?))).flatten();
        let (start, length) = place.unwrap_or_else(|| panic!("where does this write? {self:?}"));
        start..start + length
    }

    pub(crate) fn is_sync_of(&self, file: &str) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync")
            && self.target().ends_with(file)
            && self.text.ends_with("= 0")
    }
}

/// What strace saw of a server that [`command`] ran, and that has ended.
pub(crate) async fn of(server: u32, file: &Path) -> Vec<Call> {
    let is_end = |line: &str| line.starts_with(&format!("{server} ")) && line.contains("+++ exited");
    // The server may be gone before strace has written all.
    let trace = until(PATIENCE, || async {
        let trace = std::fs::read_to_string(file).unwrap();
        trace.lines().any(is_end).then_some(trace)
    });
    read(&trace.await)
}

/// All calls of a trace, in the order in which they began.
fn read(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // The thread and the position of each call that has not ended.
    let mut open: Vec<(&str, usize)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, event)) = line.split_once(' ') else { continue };
        let event = event.trim_start();
        if let Some(resumed) = event.strip_prefix("<... ") {
            let at = open.iter().position(|(waiting, _)| *waiting == thread);
            let (_, call) = open.swap_remove(at.unwrap_or_else(|| panic!("nothing to resume: {line}")));
            let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
            calls[call].text.push_str(rest.trim_end());
            calls[call].end = Some(number);
        } else if let Some((name, text)) = event.split_once('(')
            && !event.starts_with(['+', '-'])
        {
            let unfinished = text.strip_suffix(" <unfinished ...>");
            if unfinished.is_some() {
                open.push((thread, calls.len()));
            }
            let end = unfinished.is_none().then_some(number);
            let text = unfinished.unwrap_or(text).trim_end().to_owned();
            calls.push(Call { name: name.to_owned(), text, begin: number, end });
        }
    }
    calls
}

#[test]
fn a_trace_is_read() {
    let trace = "7 write(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"a(\", 2 <unfinished ...>\n\
                 8 fdatasync(9</data/store/db> <unfinished ...>\n\
                 7 <... write resumed>)          = 2\n\
                 8 <... fdatasync resumed>) = 0\n\
                 8 pwrite64(9</data/store/db>, \"x\", 1, 0) = 1\n\
                 8 --- SIGTERM {si_signo=SIGTERM} ---\n\
                 8 +++ exited with 0 +++\n";
    let calls = read(trace);
    let lines: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.target(), call.begin, call.end)).collect();
    assert_eq!(
        lines,
        [
            ("write", "TCP:[127.0.0.1:1->127.0.0.1:2]", 0, Some(2)),
            ("fdatasync", "/data/store/db", 1, Some(3)),
            ("pwrite64", "/data/store/db", 4, Some(4)),
        ]
    );
    assert!(calls[0].is_socket_write() && calls[1].is_sync_of("store/db") && calls[2].is_write_to("store/db"));
    assert_eq!(calls[2].bytes(), 0..1);
}
