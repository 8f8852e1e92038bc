//! What services see of a registry: the typed client, over all servers, while they may be restarted one after the other.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::RngExt as _;
use registry_client::{Error, pb};
use serde::Serialize;

use super::load::{Times, percentile, time_calls};
use super::payload::typical_version;
use super::{discard, run_id};
use crate::args::Bench;
use crate::output::{Column, note};
use crate::{Context, Failure};

/// One call of so many makes a version, the others read one.
const CALLS_PER_WRITE: u64 = 10;
/// What is read: so many of the newest versions, whoever made them.
const READ_AMONG: usize = 256;
/// So many failures are printed as they happen; all are counted.
const FAILURES_PRINTED: u64 = 10;

#[derive(Debug, Serialize)]
struct Steady {
    clients: usize,
    seconds: f64,
    calls: usize,
    failed: u64,
    /// Without those that failed.
    calls_per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
    max_micros: f64,
}

/// Calls for a time, and fails if any call did.
pub(super) async fn steady(context: &Context, options: &Bench) -> Result<(), Failure> {
    let model_id = format!("bench-{}-steady", run_id());
    let parent = context.client.create_model(format!("models/{model_id}")).await?.name;
    let measured = measure(context, options, &parent).await;
    let discarded = discard(&context.client, &parent).await;
    let measured = measured?;
    print(context, &measured)?;
    discarded?;
    if measured.failed > 0 {
        return Err(format!("{} of {} calls failed", measured.failed, measured.calls).into());
    }
    Ok(())
}

async fn measure(context: &Context, options: &Bench, parent: &str) -> Result<Steady, Failure> {
    let newest = Newest::default();
    newest.put(create(context, parent).await?);
    let failed = AtomicU64::new(0);
    let call = |client: usize, number: u64| {
        let (newest, failed) = (&newest, &failed);
        async move {
            // The clients write at different times.
            let writes = (number + client as u64).is_multiple_of(CALLS_PER_WRITE);
            let called = if writes {
                create(context, parent).await.map(|name| newest.put(name))
            } else {
                get(context, newest).await
            };
            if let Err(error) = called
                && failed.fetch_add(1, Ordering::Relaxed) < FAILURES_PRINTED
            {
                note(&format!("a call failed: {error}"));
            }
            Ok::<_, Infallible>(())
        }
    };
    let Ok(Times { took, elapsed }) = time_calls(options.clients, options.seconds, call).await;
    let failed = failed.into_inner();
    Ok(Steady {
        clients: options.clients,
        seconds: elapsed.as_secs_f64(),
        calls: took.len(),
        failed,
        calls_per_second: (took.len() as u64 - failed) as f64 / elapsed.as_secs_f64(),
        p50_micros: percentile(&took, 0.5),
        p99_micros: percentile(&took, 0.99),
        max_micros: percentile(&took, 1.0),
    })
}

async fn create(context: &Context, parent: &str) -> Result<String, Error> {
    let request = pb::CreateVersionRequest {
        parent: parent.to_owned(),
        version: Some(typical_version()),
        finalize: true,
        ..Default::default()
    };
    Ok(context.client.call(request).await?.name)
}

/// Reads what another client may just have made at another server.
async fn get(context: &Context, newest: &Newest) -> Result<(), Error> {
    context.client.get_version(newest.any()).await.map(drop)
}

/// The names of the newest versions, and how many there were in all.
#[derive(Default)]
struct Newest(Mutex<(Vec<String>, usize)>);

impl Newest {
    fn put(&self, name: String) {
        let (names, count) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get_mut(*count % READ_AMONG) {
            Some(oldest) => *oldest = name,
            None => names.push(name),
        }
        *count += 1;
    }

    /// There is one from the start.
    fn any(&self) -> String {
        let (names, _) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names[rand::rng().random_range(..names.len())].clone()
    }
}

fn print(context: &Context, steady: &Steady) -> Result<(), Failure> {
    if context.out.json {
        return context.out.value(steady);
    }
    let columns =
        ["clients", "seconds", "calls", "failed", "calls/s", "p50 us", "p99 us", "max us"].map(Column::number);
    let row = vec![
        steady.clients.to_string(),
        format!("{:.1}", steady.seconds),
        steady.calls.to_string(),
        steady.failed.to_string(),
        format!("{:.0}", steady.calls_per_second),
        format!("{:.0}", steady.p50_micros),
        format!("{:.0}", steady.p99_micros),
        format!("{:.0}", steady.max_micros),
    ];
    context.out.table(&columns, vec![row])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_versions_are_read() {
        let newest = Newest::default();
        newest.put("0".to_owned());
        assert_eq!(newest.any(), "0");
        for number in 1..=READ_AMONG {
            newest.put(number.to_string());
        }
        let (names, _) = &*newest.0.lock().unwrap();
        assert_eq!(names.len(), READ_AMONG);
        assert!(!names.contains(&"0".to_owned()) && names.contains(&READ_AMONG.to_string()));
    }
}
