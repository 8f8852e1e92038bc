//! `follow`: keeps what is behind a name in a folder, and runs a command at every swap.

mod link;
mod served;
mod told;

use std::path::PathBuf;
use std::sync::Arc;

use registry_client::{Error, Followed, Follower};

use self::link::Link;
use self::served::{Loader, Served};
use self::told::{Line, Seen};
use crate::args::Follow;
use crate::failure::message;
use crate::output::note;
use crate::run::{Ending, Runner, Signal, Signals, status};
use crate::{Context, Failure, Usage};

pub(crate) async fn follow(context: &Context, command: Follow) -> Result<(), Failure> {
    if command.output.is_some() && command.names.len() > 1 {
        return Err(Usage("--output is for one name".to_owned()).into());
    }
    if command.stop_first && command.stop_timeout > served::UNLOAD {
        return Err(Usage(format!("--stop-timeout is at most {:?} with --stop-first", served::UNLOAD)).into());
    }
    let link = command.output.map(Link::new).transpose()?;
    let runner = Runner::new(command.exec, context.out.json, command.stop_timeout);
    let signals = Signals::listen()?;
    let names: Vec<_> = command.names.iter().map(ToString::to_string).collect();
    let cache = command.cache.map(std::path::absolute).transpose()?;
    let loader = Arc::new(Loader {
        names: names.clone(),
        link,
        runner: Some(runner.clone()).filter(|runner| !runner.program().is_empty()),
        up_after: command.restart.then_some(command.up_after),
    });
    let follower = || {
        let loader = Arc::clone(&loader);
        let mut follower = context.client.follow_all(&names).load(move |fetched| loader.load(fetched));
        if let Some(cache) = &cache {
            follower = follower.cache(cache);
        }
        if let Some(id) = &command.report_as {
            follower = follower.report_as(id);
        }
        let labelled = |follower: Follower<_>, (key, value): &(String, String)| follower.label(key, value);
        command.labels.iter().fold(follower, labelled).report(!command.no_report)
    };
    let run = Run { context, names: &names, runner: &runner, goes_on: command.restart, signals };
    if command.stop_first {
        run.serve(|| follower().unload_first(), Option::as_ref).await
    } else {
        run.serve(follower, |served| Some(served)).await
    }
}

/// What goes on from the first version to the end.
struct Run<'a> {
    context: &'a Context,
    names: &'a [String],
    runner: &'a Runner,
    /// The command is a server, which gets SIGHUP, too.
    goes_on: bool,
    signals: Signals,
}

impl Run<'_> {
    /// Follows until a signal says that it is enough, or the server ends.
    async fn serve<M: Send + Sync + 'static>(
        mut self,
        follower: impl Fn() -> Follower<M>,
        served: fn(&M) -> Option<&Served>,
    ) -> Result<(), Failure> {
        let followed = tokio::select! {
            followed = started(self.names, follower) => Some(followed?),
            () = self.asked_to_end() => None,
        };
        let outcome = match &followed {
            Some(followed) => self.until_the_end(followed, served).await,
            None => Ok(None),
        };
        // What still runs, such as a command for a version that has just come, is to end as well.
        self.runner.end(Signal::Terminate);
        loop {
            tokio::select! {
                () = self.runner.done() => break,
                signal = self.signals.next() => self.runner.pass_on(signal),
            }
        }
        // Not before: a process that is dropped while it runs is waited for, and nobody would see its end.
        if let Some(followed) = &followed {
            followed.stop().await;
        }
        match outcome? {
            Some(server) => Ok(self.runner.judged(status(server).await?)?),
            None => Ok(()),
        }
    }

    /// Returns the server whose end is that of this command.
    async fn until_the_end<M>(
        &mut self,
        followed: &Followed<M>,
        served: fn(&M) -> Option<&Served>,
    ) -> Result<Option<Ending>, Failure> {
        let mut statuses = followed.statuses();
        let mut before = None;
        loop {
            let now = Seen::of(&statuses.borrow_and_update());
            if before.as_ref() != Some(&now) {
                self.tell(followed, &now, before.as_ref())?;
                before = Some(now);
            }
            let server = served(&followed.current().model).and_then(Served::end);
            let ended = async {
                match server.clone() {
                    Some(server) => status(server).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An error means that it has ended, which it does not while `followed` is there.
                changed = statuses.changed() => changed?,
                ended = ended => {
                    ended?;
                    // One that was replaced at this moment ends because of that.
                    let current = served(&followed.current().model).and_then(Served::end);
                    if current.zip(server.as_ref()).is_some_and(|(current, ended)| current.same_channel(ended)) {
                        note(&format!("{} has ended", self.runner.program()));
                        return Ok(server);
                    }
                }
                () = self.asked_to_end() => return Ok(server),
            }
        }
    }

    /// Waits for a signal that says so; others are for the server.
    async fn asked_to_end(&mut self) {
        loop {
            match self.signals.next().await {
                Signal::HangUp if self.goes_on => self.runner.pass_on(Signal::HangUp),
                Signal::HangUp => return,
                signal => return self.runner.end(signal),
            }
        }
    }

    fn tell<M>(&self, followed: &Followed<M>, now: &Seen, before: Option<&Seen>) -> Result<(), Failure> {
        let out = &self.context.out;
        let current = followed.current();
        let folders: Vec<PathBuf> = current.versions().iter().map(|one| one.folder().to_owned()).collect();
        if out.json {
            out.value(&Line { names: self.names, seen: now, folders: &folders })?;
        } else if let Some(line) = now.line(before, &folders) {
            out.line(&line)?;
        }
        if !out.json {
            now.notes(before).iter().for_each(|text| note(text));
        }
        Ok(())
    }
}

/// Starts to follow. If there is nothing to serve yet, it says so, and waits.
async fn started<M: Send + Sync + 'static>(
    names: &[String],
    follower: impl Fn() -> Follower<M>,
) -> Result<Followed<M>, Error> {
    match follower().start().await {
        Err(error) if error.is_invalid_argument() => Err(error),
        Err(error) => {
            note(&format!("nothing to serve yet at {}, and waiting: {}", names.join(", "), message(&error)));
            follower().wait(true).start().await
        }
        followed => followed,
    }
}
