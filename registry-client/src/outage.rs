//! Telling that the registry is not available, and that calls wait for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Error;
use crate::retry::Absence;
use crate::work::Callback;

/// How long the registry is unavailable before that is told: those who come back at once are not worth a word.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// Nobody waits for the end of this.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The registry has been unavailable for about two seconds, and a call, a transfer or a connection waits for it; see
/// [`Builder::on_outage`](crate::Builder::on_outage).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// Where it was looked for.
    pub endpoints: Vec<String>,
    /// What is wrong there, for people.
    pub problem: String,
    /// For how long it is looked for in all.
    pub patience: Duration,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, problem, patience } = self;
        match &endpoints[..] {
            [endpoint] => write!(f, "{endpoint} is not available")?,
            several => write!(f, "none of {} is available", several.join(", "))?,
        }
        write!(f, " ({problem}), trying ")?;
        if *patience >= ENDLESS {
            return f.write_str("until that changes");
        }
        // Whole seconds are enough for people.
        write!(f, "for up to {} s", patience.as_secs_f64().ceil())
    }
}

/// Tells of outages, of each once, however many calls meet with it.
#[derive(Default)]
pub(crate) struct Teller {
    endpoints: Vec<String>,
    callback: Callback<Outage>,
    told: AtomicBool,
}

impl Teller {
    pub(crate) fn new(endpoints: Vec<String>, callback: Callback<Outage>) -> Self {
        Self { endpoints, callback, told: AtomicBool::new(false) }
    }

    pub(crate) fn notice(&self, Absence { away, patience }: Absence, error: &Error) {
        let Some(callback) = &self.callback else { return };
        if away >= WORTH_TELLING && !self.told.swap(true, Ordering::Relaxed) {
            callback(Outage { endpoints: self.endpoints.clone(), problem: problem(error), patience });
        }
    }

    /// The registry answers: the next outage is another one.
    pub(crate) fn is_over(&self) {
        self.told.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// The last of an error's causes, without its number: the others say that something failed.
fn problem(error: &Error) -> String {
    let text = match error {
        Error::Transport(there) => there.problem.clone(),
        Error::Connect { endpoints } => endpoints.first().map(|there| there.problem.clone()).unwrap_or_default(),
        other => return other.to_string(),
    };
    let last = text.rsplit(": ").next().unwrap_or(&text);
    let last = last.split_once(" (os error").map_or(last, |(words, _)| words);
    last.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::error::Unreachable;

    #[test]
    fn an_outage_is_told_once_until_it_is_over() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let teller = Teller::new(
            vec!["http://127.0.0.1:1".to_owned()],
            Some(Arc::new(move |outage: Outage| tell.lock().unwrap().push(outage.to_string()))),
        );
        let problem = "transport error: tcp connect error: Connection refused (os error 111)".to_owned();
        let error = Error::Transport(Unreachable { endpoint: "http://127.0.0.1:1".to_owned(), problem });
        let notice = |seconds| {
            let away = Duration::from_secs(seconds);
            teller.notice(Absence { away, patience: Duration::from_secs(30) }, &error);
            told.lock().unwrap().len()
        };
        assert_eq!([1, 2, 3, 29].map(notice), [0, 1, 1, 1]);
        teller.is_over();
        assert_eq!([1, 5].map(notice), [1, 2]);
        let expected = "http://127.0.0.1:1 is not available (Connection refused), trying for up to 30 s";
        assert!(told.lock().unwrap().iter().all(|text| text == expected), "{told:?}");
    }

    #[test]
    fn an_outage_of_several_servers_that_is_waited_for_without_end() {
        let endpoints = vec!["http://a".to_owned(), "http://b".to_owned()];
        let outage = Outage { endpoints, problem: "draining".to_owned(), patience: Duration::MAX };
        assert_eq!(outage.to_string(), "none of http://a, http://b is available (draining), trying until that changes");
    }
}
