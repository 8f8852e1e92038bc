//! Real proxies in front of a server, with the settings of the manual.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// Where the manual says how they are set up.
const MANUAL: &str = include_str!("../../registry-server/docs/proxies.md");

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

/// A proxy with time-outs of a second. It ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Gateway {
    /// A proxy to a server.
    ///
    /// # Panics
    /// If the proxy is not installed, as `tests/run.sh` does, or does not take the manual's settings.
    pub fn to(kind: Kind, server: SocketAddr) -> Self {
        // A port that is free now may be taken in a moment: then another one is tried.
        let mut tried = 0;
        loop {
            tried += 1;
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap();
            if let Some(gateway) = Self::on(kind, free, server) {
                return gateway;
            }
            assert!(tried < 20, "{kind:?} does not start");
        }
    }

    fn on(kind: Kind, address: SocketAddr, server: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.conf");
        std::fs::write(&file, settings(kind, folder.path(), address, server)).unwrap();
        let mut child = command(kind, &file, folder.path()).stdin(Stdio::null()).spawn().unwrap_or_else(|error| {
            panic!("{kind:?} can't be run ({error}): tests/run.sh installs it");
        });
        while TcpStream::connect(address).is_err() {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
        Some(Self { kind, child, address, _folder: folder })
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets it read its settings again: calls that are under way go on.
    pub fn reload(&self) {
        let signal = match self.kind {
            Kind::Nginx => Signal::HUP,
            Kind::Haproxy => Signal::USR2,
        };
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // At once, with its workers, which SIGKILL would leave behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn command(kind: Kind, file: &Path, folder: &Path) -> Command {
    let mut command = Command::new(match kind {
        Kind::Nginx => program("nginx"),
        Kind::Haproxy => program("haproxy"),
    });
    match kind {
        Kind::Nginx => command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(file),
        // With a master, which is told to reload, and in the foreground.
        Kind::Haproxy => command.args(["-W", "-db", "-q", "-f"]).arg(file),
    };
    command
}

/// Where Debian puts what only root has in its PATH.
fn program(name: &str) -> PathBuf {
    let usual = Path::new("/usr/sbin").join(name);
    if usual.exists() { usual } else { name.into() }
}

/// The manual's settings, for these addresses.
fn settings(kind: Kind, folder: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let language = if kind == Kind::Nginx { "nginx" } else { "haproxy" };
    let (_, block) = MANUAL.split_once(&format!("```{language}\n")).expect("the manual has an example");
    let (block, _) = block.split_once("```").expect("it ends");
    let mut settings = block.replace("127.0.0.1:50080", &address.to_string());
    settings = settings.replace("127.0.0.1:50051", &server.to_string());
    // Whatever it does in a minute, it does in a second.
    settings = settings.replace("60s", "1s");
    if kind == Kind::Nginx {
        let user = if geteuid().is_root() { "user root;\n" } else { "" };
        let pid = folder.join("pid");
        settings = format!("daemon off;\npid {};\n{user}{settings}", pid.display());
        settings = settings.replace("worker_processes auto", "worker_processes 1");
    }
    settings
}
