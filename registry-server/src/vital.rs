//! Threads and tasks without which the server must not go on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::future::select_all;
use tokio::task::JoinHandle;

/// Does the work of a thread. If it panics, the process ends before anything else is dropped, and so written: what the thread had in
/// hand is not known to be whole.
pub(crate) fn vital<T>(thread: &str, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!(thread, "a thread has panicked that the store can't do without; the process ends");
        std::process::abort()
    })
}

/// The tasks that go on for as long as the server does.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Vec<(&'static str, JoinHandle<()>)>);

impl Tasks {
    /// Starts one.
    pub(crate) fn spawn(&mut self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.push((task, tokio::spawn(work)));
    }

    /// Waits until one of them has ended, which none should before the server stops. Answers which.
    pub(crate) async fn one_ended(&mut self) -> &'static str {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (_, ended, _) = select_all(self.0.iter_mut().map(|(_, task)| task)).await;
        self.0.swap_remove(ended).0
    }

    /// Takes the handle of one.
    pub(crate) fn take(&mut self, task: &str) -> Option<JoinHandle<()>> {
        let at = self.0.iter().position(|(name, _)| *name == task)?;
        Some(self.0.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "TEST_OF_A_VITAL_THREAD";

    /// Runs itself once more, in a process of its own.
    #[test]
    fn a_vital_thread_that_panics_ends_the_process_at_once() {
        if std::env::var_os(CHILD).is_some() {
            let thread = std::thread::spawn(|| vital("test", || panic!("a fault")));
            let _ = thread.join();
            println!("the process went on");
            return;
        }
        let test = "vital::tests::a_vital_thread_that_panics_ends_the_process_at_once";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([test, "--exact", "--nocapture"]).env(CHILD, "").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test") && !said.contains("went on"), "{said}");
        assert!(output.status.signal().is_some(), "{}", output.status);
    }

    #[tokio::test]
    async fn a_task_that_ends_is_named_however_it_ended() {
        let mut tasks = Tasks::default();
        tasks.spawn("lasts", std::future::pending());
        tasks.spawn("panics", async { panic!("a fault") });
        assert_eq!(tasks.one_ended().await, "panics");
        tasks.spawn("returns", async {});
        assert_eq!(tasks.one_ended().await, "returns");
        assert!(tasks.take("lasts").is_some());
    }
}
