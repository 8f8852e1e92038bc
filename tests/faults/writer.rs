//! A client that writes under load and keeps book of what was acknowledged.

use registry_client::{Error, RegistryClient, pb};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

const STAGES: [pb::Stage; 4] = [pb::Stage::Development, pb::Stage::Staging, pb::Stage::Production, pb::Stage::Archived];

/// Something that was asked for, once or several times, under one request id.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: Uuid,
    pub(crate) model: String,
    pub(crate) change: Change,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Make a version; the version id and a tag are those of this attempt only.
    Create { version_id: String },
    /// Move a version to a stage.
    Move { version: String, stage: pb::Stage },
    /// Point the writer's own alias at a version, or remove it.
    Alias { alias: String, to: Option<String> },
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Created(Box<pb::Version>),
    Moved(Box<pb::TransitionStageResponse>),
    Aliased,
}

/// One writer: what it did, across all the restarts of the server.
#[derive(Debug)]
pub(crate) struct Writer {
    number: usize,
    model: String,
    attempts: usize,
    /// Every write that was acknowledged.
    pub(crate) done: Vec<(Attempt, Answer)>,
    /// The write that was under way when the server was killed.
    pub(crate) unknown: Option<Attempt>,
    /// The versions it made.
    versions: Vec<String>,
    /// Where its alias points.
    pub(crate) alias: Option<String>,
}

impl Writer {
    pub(crate) fn new(number: usize, model: &str) -> Self {
        let model = model.to_owned();
        Self { number, model, attempts: 0, done: Vec::new(), unknown: None, versions: Vec::new(), alias: None }
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn alias_name(&self) -> String {
        format!("writer-{}", self.number)
    }

    /// Writes until the server is killed, and tells of every acknowledgement. What was under way when the server was killed the
    /// last time is repeated first; so is what was acknowledged last, which has to be answered alike.
    pub(crate) async fn write(
        &mut self,
        client: &RegistryClient,
        killed: &watch::Receiver<bool>,
        acknowledged: &mpsc::UnboundedSender<()>,
    ) {
        if !self.settle(client, killed).await {
            return;
        }
        loop {
            let attempt = self.next();
            if !self.attempt(client, killed, attempt).await {
                return;
            }
            // The test may have seen enough already.
            let _ = acknowledged.send(());
        }
    }

    /// Makes so many writes, each until it is answered, and tells of every acknowledgement.
    async fn write_some(&mut self, client: &RegistryClient, writes: usize, acknowledged: &mpsc::UnboundedSender<()>) {
        let (_running, killed) = watch::channel(false);
        for _ in 0..writes {
            let attempt = self.next();
            assert!(self.attempt(client, &killed, attempt).await);
            // The test may have seen enough already.
            let _ = acknowledged.send(());
        }
    }

    /// Finds out what became of the write whose outcome is unknown. Answers false if the server was killed before it said.
    pub(crate) async fn settle(&mut self, client: &RegistryClient, killed: &watch::Receiver<bool>) -> bool {
        if let Some((attempt, before)) = self.done.last().cloned() {
            match send(client, &attempt, killed).await {
                None => return false,
                Some(again) => assert_alike(&attempt, &before, &again),
            }
        }
        match self.unknown.take() {
            Some(attempt) => self.attempt(client, killed, attempt).await,
            None => true,
        }
    }

    async fn attempt(&mut self, client: &RegistryClient, killed: &watch::Receiver<bool>, attempt: Attempt) -> bool {
        let Some(answer) = send(client, &attempt, killed).await else {
            self.unknown = Some(attempt);
            return false;
        };
        match (&attempt.change, &answer) {
            (_, Answer::Created(version)) => self.versions.push(version.name.clone()),
            (Change::Alias { to, .. }, _) => self.alias.clone_from(to),
            _ => {}
        }
        self.done.push((attempt, answer));
        true
    }

    fn next(&mut self) -> Attempt {
        self.attempts += 1;
        let newest = self.versions.last().filter(|newest| self.alias.as_ref() != Some(*newest));
        let change = match (rand::random_range(0..10), self.versions.is_empty(), newest, &self.alias) {
            (4..=6, false, ..) => Change::Move {
                version: self.versions[rand::random_range(0..self.versions.len())].clone(),
                stage: STAGES[rand::random_range(0..STAGES.len())],
            },
            (7..=8, _, Some(newest), _) => Change::Alias { alias: self.alias_name(), to: Some(newest.clone()) },
            (9, _, _, Some(_)) => Change::Alias { alias: self.alias_name(), to: None },
            _ => Change::Create { version_id: format!("w{}.{}", self.number, self.attempts) },
        };
        Attempt { id: Uuid::now_v7(), model: self.model.clone(), change }
    }
}

/// Lets writers make so many writes each, all at once; what comes out of the channel are their acknowledgements.
pub(crate) fn start(
    client: &RegistryClient,
    writers: impl Iterator<Item = Writer>,
    writes: usize,
) -> (JoinSet<Writer>, mpsc::UnboundedReceiver<()>) {
    let (acknowledged, acknowledgements) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for mut writer in writers {
        let (client, acknowledged) = (client.clone(), acknowledged.clone());
        tasks.spawn(async move {
            writer.write_some(&client, writes, &acknowledged).await;
            writer
        });
    }
    (tasks, acknowledgements)
}

/// Asks until there is an answer. Answers `None` if there was none when the server was killed.
async fn send(client: &RegistryClient, attempt: &Attempt, killed: &watch::Receiver<bool>) -> Option<Answer> {
    loop {
        match send_once(client, attempt).await {
            Ok(answer) => return Some(answer),
            Err(error) if !error.is_unavailable() => panic!("{attempt:?} was refused: {error:?}"),
            Err(_) if *killed.borrow() => return None,
            // A connection of before the restart.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn send_once(client: &RegistryClient, attempt: &Attempt) -> Result<Answer, Error> {
    let Attempt { id, model, change } = attempt;
    Ok(match change {
        Change::Create { version_id } => {
            let create = client.create_version(model).version_id(version_id).tag("attempt", id.to_string());
            Answer::Created(Box::new(create.finalize(true).request_id(*id).await?))
        }
        Change::Move { version, stage } => {
            let moved = client.transition_stage(version, *stage).comment(id.to_string()).request_id(*id).await?;
            Answer::Moved(Box::new(moved))
        }
        Change::Alias { alias, to: Some(version) } => {
            let number = version.rsplit('/').next().unwrap_or_default();
            client.set_alias(model, alias, number).request_id(*id).await?;
            Answer::Aliased
        }
        Change::Alias { alias, to: None } => {
            client.delete_alias(model, alias).request_id(*id).await?;
            Answer::Aliased
        }
    })
}

/// A repeated request is answered as the first one was: with the same resource and, if the answer has one, the same revision.
fn assert_alike(attempt: &Attempt, before: &Answer, again: &Answer) {
    match (before, again) {
        (Answer::Created(before), Answer::Created(again)) => {
            assert_eq!((&before.name, &before.uid), (&again.name, &again.uid), "{attempt:?}");
        }
        (Answer::Moved(before), Answer::Moved(again)) => assert_eq!(before.revision, again.revision, "{attempt:?}"),
        (Answer::Aliased, Answer::Aliased) => {}
        other => panic!("{attempt:?} was answered by {other:?}"),
    }
}
