//! A terminal of some width, for programs that look whether they write to one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What a program wrote, and how it ended.
#[derive(Debug)]
pub struct Shown {
    /// On the terminal, as it came there.
    pub text: String,
    /// On standard error, if that is no terminal.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// Which streams of a program are a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// Standard output; standard error is a pipe.
    Output,
    /// Standard error; standard output goes nowhere.
    Error,
}

/// Runs a program on a terminal with so many columns.
///
/// # Panics
/// If there can be no terminal, the program can't be run, or what it writes is no UTF-8.
pub fn on_terminal(mut command: Command, columns: u16, streams: Streams) -> Shown {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let path = std::ffi::OsString::from_vec(ptsname(&terminal, Vec::new()).unwrap().into_bytes());
    let end = OpenOptions::new().read(true).write(true).open(path).unwrap();
    match streams {
        Streams::Output => command.stdout(end).stderr(Stdio::piped()),
        Streams::Error => command.stdout(Stdio::null()).stderr(end),
    };
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    // The program's end of the terminal: it hangs up when nobody has that any more.
    drop(command);
    let text = read(terminal);
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut stderr).unwrap();
    }
    Shown { text, stderr, status: child.wait().unwrap() }
}

fn read(terminal: OwnedFd) -> String {
    let (mut terminal, mut bytes) = (File::from(terminal), Vec::new());
    match terminal.read_to_end(&mut bytes) {
        Ok(_) => {}
        // How Linux says that it has hung up.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
    }
    // A terminal begins a line with a carriage return.
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}
