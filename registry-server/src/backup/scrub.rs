//! Are the bytes of the artifacts there? Every chunk is read once, however many artifacts list it.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use registry_proto::v1 as pb;
use registry_proto::v1::VerifyProblemType;

use super::Owned;
use crate::chunks::{ChunkError, ChunkStore};
use crate::error::Error;
use crate::registry::contents::{content, namespace_of};
use crate::registry::resource::Resource as _;
use crate::registry::{Intent, Registry, count, kinds};
use crate::store::{Hit, Pages, Revision, Source, Store, StoreError, decode};

/// How many chunks are read at once.
const AT_ONCE: usize = 4;
/// How many problems, and artifacts of a problem, a report lists.
const LISTED: usize = 100;
/// And of each at most how many artifacts: their names may be long.
const ARTIFACTS_LISTED: usize = 10;
/// So many damaged chunks are put aside together.
const PUT_ASIDE: usize = 100;

/// What is wrong with an artifact.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) r#type: VerifyProblemType,
    /// `None` if it is the list of its chunks.
    pub(crate) chunk: Option<Owned>,
    pub(crate) detail: String,
}

impl Finding {
    fn of_list(r#type: VerifyProblemType, detail: impl Into<String>) -> Self {
        Self { r#type, chunk: None, detail: detail.into() }
    }
}

/// Reads all artifacts, each as it is when its turn comes.
pub(crate) struct Scrubber<'a> {
    store: &'a dyn Store,
    chunks: &'a ChunkStore,
    artifacts: Pages,
    /// What was written later may have put a chunk back that was read before.
    since: Revision,
    intact: HashSet<Owned>,
    broken: BTreeMap<Owned, Finding>,
    /// Of the chunks that are intact.
    pub(crate) bytes: i64,
}

impl<'a> Scrubber<'a> {
    /// `since` is a revision that is committed by now.
    pub(crate) fn new(store: &'a dyn Store, chunks: &'a ChunkStore, since: Revision) -> Self {
        let artifacts = Pages::of(Source::Kind(pb::Artifact::KIND));
        Self { store, chunks, artifacts, since, intact: HashSet::new(), broken: BTreeMap::new(), bytes: 0 }
    }

    /// The next artifact, and what is wrong with it.
    pub(crate) async fn next(&mut self) -> Result<Option<(pb::Artifact, Vec<Finding>)>, Error> {
        let Some(mut hit) = self.artifacts.next(self.store).await? else { return Ok(None) };
        loop {
            let artifact: pb::Artifact = decode(hit.record.payload.clone())?;
            let findings = self.read(&hit, &artifact).await?;
            if findings.is_empty() {
                return Ok(Some((artifact, findings)));
            }
            // What was deleted since may be gone, and what was replaced may have another list.
            match self.store.get(pb::Artifact::KIND, &hit.record.key).await? {
                Some(record) if record == hit.record => return Ok(Some((artifact, findings))),
                Some(record) => hit.record = record,
                None => return Ok(Some((artifact, Vec::new()))),
            }
        }
    }

    async fn read(&mut self, hit: &Hit, artifact: &pb::Artifact) -> Result<Vec<Finding>, Error> {
        let Some(manifest) = self.store.get(kinds::MANIFEST, &hit.record.key).await? else {
            return Ok(vec![Finding::of_list(VerifyProblemType::ArtifactMissing, "it has no list of chunks")]);
        };
        let content = match content(&manifest) {
            Err(Error::Store(StoreError::Damaged(detail))) => {
                return Ok(vec![Finding::of_list(VerifyProblemType::ArtifactDamaged, detail)]);
            }
            content => content?,
        };
        if content.digest() != artifact.chunks_blake3 {
            let detail = "its list of chunks is another one";
            return Ok(vec![Finding::of_list(VerifyProblemType::ArtifactDamaged, detail)]);
        }
        let namespace = namespace_of(&hit.record.key);
        let mut findings = Vec::new();
        let mut unread = Vec::new();
        let mut seen = HashSet::new();
        for chunk in &content.chunks {
            let owned = (namespace.to_owned(), *chunk);
            match self.broken.get(&owned) {
                _ if self.intact.contains(&owned) || !seen.insert(*chunk) => {}
                Some(finding) if hit.record.revision <= self.since => findings.push(finding.clone()),
                Some(_) | None => unread.push(owned),
            }
        }
        let (content, store) = (&content, self.chunks);
        let read = async |owned: Owned| (content.read(store, &owned.0, &owned.1).await, owned);
        let mut read = stream::iter(unread).map(read).buffered(AT_ONCE);
        while let Some((result, owned)) = read.next().await {
            if let Some(finding) = judge(result, &owned)? {
                self.broken.insert(owned, finding.clone());
                findings.push(finding);
            } else {
                self.bytes += i64::from(owned.1.size);
                self.intact.insert(owned);
            }
        }
        Ok(findings)
    }

    /// How many different chunks are intact.
    pub(crate) fn intact(&self) -> i64 {
        count(self.intact.len())
    }
}

fn judge(read: Result<Bytes, ChunkError>, owned: &Owned) -> Result<Option<Finding>, Error> {
    let r#type = match &read {
        Ok(_) => return Ok(None),
        Err(ChunkError::Failed(error)) => return Err(error.clone().into()),
        Err(ChunkError::Missing(_)) => VerifyProblemType::ArtifactMissing,
        Err(_) => VerifyProblemType::ArtifactDamaged,
    };
    let detail = read.err().map(|error| error.to_string()).unwrap_or_default();
    Ok(Some(Finding { r#type, chunk: Some(owned.clone()), detail }))
}

/// Reads every chunk that an artifact lists. `tell` hears how far it is, and says false to end it. With `quarantine`, what is
/// damaged is put aside.
///
/// # Errors
/// If a store can't be read. What is wrong with the chunks is in the report.
pub(crate) async fn scrub(
    registry: &Registry,
    intent: &Intent,
    quarantine: bool,
    tell: impl Fn(pb::ScrubProgress) -> bool + Send,
) -> Result<pb::ScrubReport, Error> {
    let revision = registry.store().newest().await?;
    let mut report = pb::ScrubReport { revision: revision.cast_signed(), ..Default::default() };
    let mut scrubber = Scrubber::new(&**registry.store(), registry.chunks(), revision);
    // Problems by their chunk, or by the artifact whose list is at fault.
    let mut problems: BTreeMap<(Option<Owned>, String), pb::ScrubProblem> = BTreeMap::new();
    while let Some((artifact, findings)) = scrubber.next().await? {
        report.artifacts += 1;
        for Finding { r#type, chunk, detail } in findings {
            let list = if chunk.is_none() { artifact.name.clone() } else { String::new() };
            let problem = problems.entry((chunk.clone(), list)).or_insert_with(|| {
                let (namespace, blake3) = chunk.map(|(namespace, chunk)| (namespace, chunk.blake3)).unzip();
                pb::ScrubProblem {
                    r#type: r#type.into(),
                    namespace: namespace.unwrap_or_default(),
                    blake3: blake3.map(|blake3| Bytes::copy_from_slice(&blake3)).unwrap_or_default(),
                    detail,
                    ..Default::default()
                }
            });
            problem.artifact_count += 1;
            if problem.artifacts.len() < ARTIFACTS_LISTED {
                problem.artifacts.push(artifact.name.clone());
            }
        }
        let progress = pb::ScrubProgress {
            artifacts: report.artifacts,
            chunks: scrubber.intact(),
            size_bytes: scrubber.bytes,
            problem_count: count(problems.len()),
        };
        if !tell(progress) {
            return Ok(report);
        }
    }
    report.chunks = scrubber.intact();
    report.size_bytes = scrubber.bytes;
    report.problem_count = count(problems.len());
    if quarantine {
        let damaged = |problem: &pb::ScrubProblem| problem.r#type() == VerifyProblemType::ArtifactDamaged;
        let damaged = problems.iter().filter(|(_, problem)| damaged(problem));
        let damaged: Vec<_> = damaged.filter_map(|((chunk, _), _)| chunk.clone()).collect();
        for chunks in damaged.chunks(PUT_ASIDE) {
            report.quarantined_chunks += registry.put_aside(intent, chunks.to_vec()).await?;
        }
    }
    report.problems = problems.into_values().take(LISTED).collect();
    Ok(report)
}
