//! What a registry is by its contract, in a few lines that share nothing with the server: the oracle of the random test.
//!
//! Events are told as lines of text, so that they can be compared with those of the log.

use std::collections::BTreeMap;

use registry_client::pb::Stage;

/// A change that somebody asks for. Models, versions, ids, aliases and paths are few, so that changes meet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    CreateModel(usize),
    UpdateModel(usize, String),
    DeleteModel { model: usize, force: bool },
    UndeleteModel(usize),
    CreateVersion { model: usize, id: Option<&'static str>, finalize: bool },
    UpdateVersion(usize, i64, String),
    Finalize { model: usize, number: i64, fail: bool },
    Upload { model: usize, number: i64, path: &'static str, bytes: u8 },
    DeleteArtifact { model: usize, number: i64, path: &'static str },
    Transition(usize, i64, Stage),
    Together(Vec<(usize, i64, Stage)>),
    Rollback(usize, Stage),
    SetAlias { model: usize, alias: &'static str, number: i64 },
    DeleteAlias { model: usize, alias: &'static str },
    DeleteVersion { model: usize, number: i64, force: bool },
    UndeleteVersion(usize, i64),
    Purge(usize, i64),
    Withdraw { model: usize, number: i64, force: bool },
    Reinstate(usize, i64),
    Prune { model: usize, keep: usize },
}

/// Late files tell of a version, and may be added when it is READY.
pub(crate) fn is_late(path: &str) -> bool {
    path == "plot.png"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Ready,
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version {
    pub(crate) id: Option<&'static str>,
    pub(crate) state: State,
    pub(crate) stage: Stage,
    pub(crate) deleted: bool,
    pub(crate) purged: bool,
    pub(crate) withdrawn: bool,
    pub(crate) description: String,
    /// By path: the bytes, and whether the file came when the version was READY.
    pub(crate) files: BTreeMap<&'static str, (u8, bool)>,
    /// When it entered its stage, counted by changes: of those that entered in one, the one with the highest number counts as the last.
    entered: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) deleted: bool,
    pub(crate) owner: String,
    pub(crate) aliases: BTreeMap<&'static str, i64>,
    pub(crate) versions: Vec<Version>,
    /// Who held PRODUCTION and STAGING, the newest last.
    holders: BTreeMap<i32, Vec<i64>>,
    changes: u64,
}

/// The models, by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Spec(pub(crate) BTreeMap<usize, Model>);

/// Why something is refused. The test asks whether, not why.
#[derive(Debug)]
pub(crate) struct Refused;

type Told = Result<Vec<String>, Refused>;

fn is_held(stage: Stage) -> bool {
    matches!(stage, Stage::Staging | Stage::Production)
}

impl Model {
    fn any(&mut self, number: i64) -> Result<&mut Version, Refused> {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).ok_or(Refused)?;
        self.versions.get_mut(place).ok_or(Refused)
    }

    fn live(&mut self, number: i64) -> Result<&mut Version, Refused> {
        self.any(number).and_then(|version| if version.deleted { Err(Refused) } else { Ok(version) })
    }

    /// The versions in a stage, the one that entered last first.
    pub(crate) fn in_stage(&self, stage: Stage) -> Vec<i64> {
        let mut found: Vec<_> = (1..)
            .zip(&self.versions)
            .filter(|(_, version)| version.stage == stage && !version.deleted)
            .map(|(number, version)| (version.entered, number))
            .collect();
        found.sort_unstable();
        found.into_iter().rev().map(|(_, number)| number).collect()
    }

    pub(crate) fn latest(&self) -> Option<i64> {
        let ready = |version: &Version| version.state == State::Ready && !version.deleted && !version.withdrawn;
        (1..).zip(&self.versions).filter(|(_, version)| ready(version)).map(|(number, _)| number).last()
    }

    fn shift(&mut self, model: usize, number: i64, to: Stage, why: &str, hold: bool) -> Result<String, Refused> {
        let entered = self.changes;
        let version = self.any(number)?;
        let from = version.stage;
        if from != to {
            (version.stage, version.entered) = (to, entered);
            if hold && is_held(to) {
                self.holders.entry(to.into()).or_default().push(number);
            }
        }
        Ok(format!("version.stage_transitioned m{model}/{number} {}>{} {why}", i32::from(from), i32::from(to)))
    }

    fn transition(&mut self, model: usize, number: i64, to: Stage) -> Told {
        let version = self.live(number)?;
        if version.stage == to {
            return Ok(vec![format!("request.unchanged m{model}/{number}")]);
        }
        if is_held(to) && (version.state != State::Ready || version.withdrawn) {
            return Err(Refused);
        }
        let incumbents = if to == Stage::Production { self.in_stage(to) } else { Vec::new() };
        let mut told = vec![self.shift(model, number, to, "asked", true)?];
        for incumbent in incumbents {
            told.push(self.shift(model, incumbent, Stage::Archived, "displaced", true)?);
        }
        Ok(told)
    }

    fn rollback(&mut self, model: usize, stage: Stage) -> Told {
        let holder = self.in_stage(stage).first().copied();
        let mut stack = self.holders.remove(&stage.into()).unwrap_or_default();
        while let Some(number) = stack.last().copied() {
            let version = self.any(number)?;
            if Some(number) != holder && version.state == State::Ready && !version.deleted && !version.withdrawn {
                self.holders.insert(stage.into(), stack);
                let mut told = vec![self.shift(model, number, stage, "rollback", false)?];
                if let Some(holder) = holder {
                    told.push(self.shift(model, holder, Stage::Archived, "displaced", true)?);
                }
                return Ok(told);
            }
            stack.pop();
        }
        Err(Refused)
    }

    /// What a version loses that is deleted or withdrawn.
    fn lose(&mut self, model: usize, number: i64, why: &str) -> Told {
        let mut told = Vec::new();
        let gone: Vec<_> = self.aliases.iter().filter(|(_, to)| **to == number).map(|(alias, _)| *alias).collect();
        if !gone.is_empty() {
            self.aliases.retain(|_, to| *to != number);
            let gone: Vec<_> = gone.into_iter().map(|alias| format!("{alias}:{number}>")).collect();
            told.push(format!("alias.deleted m{model} {}", gone.join(" ")));
        }
        if is_held(self.any(number)?.stage) {
            told.push(self.shift(model, number, Stage::Archived, why, true)?);
        }
        Ok(told)
    }

    fn delete(&mut self, model: usize, number: i64) -> Told {
        let mut told = self.lose(model, number, "deleted")?;
        let version = self.any(number)?;
        let moved = match version.stage {
            Stage::Archived => String::new(),
            from => format!(" {}>{} deleted", i32::from(from), i32::from(Stage::Archived)),
        };
        (version.deleted, version.stage) = (true, Stage::Archived);
        told.push(format!("version.deleted m{model}/{number}{moved}"));
        Ok(told)
    }

    /// What a model that is deleted gives up.
    fn let_go(&mut self, model: usize) -> Told {
        let mut told = Vec::new();
        let gone: Vec<_> =
            std::mem::take(&mut self.aliases).into_iter().map(|(of, to)| format!("{of}:{to}>")).collect();
        if !gone.is_empty() {
            told.push(format!("alias.deleted m{model} {}", gone.join(" ")));
        }
        for stage in [Stage::Staging, Stage::Production] {
            for number in self.in_stage(stage) {
                told.push(self.shift(model, number, Stage::Archived, "deleted", true)?);
            }
        }
        Ok(told)
    }

    fn upload(&mut self, model: usize, number: i64, path: &'static str, bytes: u8) -> Told {
        let version = self.live(number)?;
        let name = format!("m{model}/{number}/{path}");
        match version.files.get(path) {
            Some((there, _)) if *there == bytes => return Ok(vec![format!("request.unchanged {name}")]),
            Some(_) => return Err(Refused),
            None => {}
        }
        let below = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        if version.files.keys().any(|there| below(there, path) || below(path, there)) {
            return Err(Refused);
        }
        match version.state {
            State::Pending => {}
            State::Ready if is_late(path) => {}
            _ => return Err(Refused),
        }
        version.files.insert(path, (bytes, version.state != State::Pending));
        Ok(vec![format!("artifact.created {name}")])
    }

    /// Which versions may go is looked at before the change is decided: it is a choice among those that are in nobody's way when it is.
    fn prune(&mut self, model: usize, chosen: &[i64]) -> Told {
        let mut told = Vec::new();
        for number in chosen {
            let version = self.live(*number)?;
            if is_held(version.stage) || version.state == State::Pending || self.aliases.values().any(|to| to == number)
            {
                return Err(Refused);
            }
            told.extend(self.delete(model, *number)?);
        }
        if told.is_empty() {
            told.push(format!("request.unchanged m{model}"));
        }
        Ok(told)
    }
}

impl Spec {
    fn live(&mut self, model: usize) -> Result<&mut Model, Refused> {
        self.0.get_mut(&model).filter(|model| !model.deleted).ok_or(Refused)
    }

    /// Carries a change out, or refuses it. After a refusal the state is of no use. `chosen` are the versions that a pruning took.
    pub(crate) fn apply(&mut self, op: &Op, chosen: &[i64]) -> Told {
        self.0.values_mut().for_each(|model| model.changes += 1);
        match op {
            Op::CreateModel(model) => {
                if self.0.contains_key(model) {
                    return Err(Refused);
                }
                let first = self.0.is_empty().then(|| "namespace.created".to_owned());
                self.0.insert(*model, Model::default());
                Ok(first.into_iter().chain([format!("model.created m{model}")]).collect())
            }
            Op::UpdateModel(model, owner) => {
                self.live(*model)?.owner.clone_from(owner);
                Ok(vec![format!("model.updated m{model}")])
            }
            Op::DeleteModel { model, force } => {
                let found = self.live(*model)?;
                if !force && (!found.aliases.is_empty() || !found.in_stage(Stage::Production).is_empty()) {
                    return Err(Refused);
                }
                let mut told = found.let_go(*model)?;
                found.deleted = true;
                told.push(format!("model.deleted m{model}"));
                Ok(told)
            }
            Op::UndeleteModel(model) => {
                let found = self.0.get_mut(model).filter(|model| model.deleted).ok_or(Refused)?;
                found.deleted = false;
                Ok(vec![format!("model.undeleted m{model}")])
            }
            Op::Together(steps) => {
                let mut told = Vec::new();
                for (model, number, to) in steps {
                    told.extend(self.live(*model)?.transition(*model, *number, *to)?);
                }
                Ok(told)
            }
            Op::CreateVersion { model, id, finalize } => self.create_version(*model, *id, *finalize),
            Op::Transition(model, number, to) => self.live(*model)?.transition(*model, *number, *to),
            Op::Rollback(model, stage) => self.live(*model)?.rollback(*model, *stage),
            Op::Upload { model, number, path, bytes } => self.live(*model)?.upload(*model, *number, path, *bytes),
            Op::Prune { model, .. } => self.live(*model)?.prune(*model, chosen),
            Op::UpdateVersion(model, number, text) => {
                self.live(*model)?.live(*number)?.description.clone_from(text);
                Ok(vec![format!("version.updated m{model}/{number}")])
            }
            Op::Finalize { model, number, fail } => {
                let version = self.live(*model)?.live(*number)?;
                if version.state != State::Pending {
                    return Err(Refused);
                }
                version.state = if *fail { State::Failed } else { State::Ready };
                Ok(vec![format!("version.finalized m{model}/{number}")])
            }
            Op::DeleteArtifact { model, number, path } => {
                let version = self.live(*model)?.live(*number)?;
                let (_, late) = version.files.get(path).ok_or(Refused)?;
                if version.state != State::Pending && !late {
                    return Err(Refused);
                }
                version.files.remove(path);
                Ok(vec![format!("artifact.deleted m{model}/{number}/{path}")])
            }
            Op::SetAlias { model, alias, number } => {
                let found = self.live(*model)?;
                if found.live(*number)?.withdrawn {
                    return Err(Refused);
                }
                let from = found.aliases.insert(alias, *number).map(|from| from.to_string()).unwrap_or_default();
                Ok(vec![format!("alias.set m{model} {alias}:{from}>{number}")])
            }
            Op::DeleteAlias { model, alias } => {
                let from = self.live(*model)?.aliases.remove(alias).ok_or(Refused)?;
                Ok(vec![format!("alias.deleted m{model} {alias}:{from}>")])
            }
            Op::DeleteVersion { model, number, force } => {
                let found = self.live(*model)?;
                let aliased = found.aliases.values().any(|to| to == number);
                if !force && (aliased || found.live(*number)?.stage == Stage::Production) {
                    return Err(Refused);
                }
                found.live(*number)?;
                found.delete(*model, *number)
            }
            Op::UndeleteVersion(model, number) => {
                let found = self.live(*model)?;
                let entered = found.changes;
                let version = found.any(*number)?;
                if !version.deleted || version.purged {
                    return Err(Refused);
                }
                (version.deleted, version.entered) = (false, entered);
                Ok(vec![format!("version.undeleted m{model}/{number}")])
            }
            Op::Purge(model, number) => self.purge(*model, *number),
            Op::Withdraw { model, number, force } => {
                let found = self.live(*model)?;
                let aliased = found.aliases.values().any(|to| to == number);
                let version = found.live(*number)?;
                if version.state != State::Ready || !force && (aliased || is_held(version.stage)) {
                    return Err(Refused);
                }
                version.withdrawn = true;
                let mut told = found.lose(*model, *number, "withdrawn")?;
                told.push(format!("version.withdrawn m{model}/{number}"));
                Ok(told)
            }
            Op::Reinstate(model, number) => {
                let version = self.live(*model)?.live(*number)?;
                if !std::mem::take(&mut version.withdrawn) {
                    return Err(Refused);
                }
                Ok(vec![format!("version.reinstated m{model}/{number}")])
            }
        }
    }

    fn create_version(&mut self, model: usize, id: Option<&'static str>, finalize: bool) -> Told {
        let found = self.live(model)?;
        let mut told = Vec::new();
        let holder = (1_i64..).zip(&mut found.versions).find(|(_, version)| id.is_some() && version.id == id);
        if let Some((number, holder)) = holder {
            if holder.state != State::Failed && !holder.purged {
                return Err(Refused);
            }
            holder.id = None;
            told.push(format!("version.updated m{model}/{number}"));
        }
        let state = if finalize { State::Ready } else { State::Pending };
        found.versions.push(Version {
            id,
            state,
            stage: Stage::Development,
            deleted: false,
            purged: false,
            withdrawn: false,
            description: String::new(),
            files: BTreeMap::new(),
            entered: 0,
        });
        told.push(format!("version.created m{model}/{}", found.versions.len()));
        Ok(told)
    }

    fn purge(&mut self, model: usize, number: i64) -> Told {
        let found = self.0.get_mut(&model).ok_or(Refused)?;
        let of_deleted = found.deleted;
        let version = found.any(number)?;
        if version.purged || !(version.deleted || of_deleted) {
            return Err(Refused);
        }
        let mut told = if version.deleted { Vec::new() } else { found.delete(model, number)? };
        let version = found.any(number)?;
        version.purged = true;
        version.files.clear();
        told.push(format!("version.purged m{model}/{number}"));
        Ok(told)
    }
}
