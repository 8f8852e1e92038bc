//! The kinds of resources, as data: what can be done without knowing which kind it is.

use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::kinds;
use super::models::ModelRow;
use super::resource::Resource;
use crate::error::Error;
use crate::rules::names::{Collection, Name};
use crate::store::{Kind, Record, Source};

/// A kind of resource.
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) of: &'static Collection,
    /// Those that are not deleted, by name.
    pub(crate) listed: Source,
    /// What a record shows.
    pub(crate) shown: Shown,
}

/// The name and the resource in a record, or nothing if that is deleted.
type Shown = fn(&Record) -> Result<Option<(Name, pb::Resource)>, Error>;

/// All kinds.
pub(crate) static KINDS: &[Spec] = &[
    Spec::of::<ModelRow>(Source::Index(kinds::LIVE_MODELS)),
    Spec::of::<pb::Version>(Source::Index(kinds::LIVE_VERSIONS)),
    Spec::of::<pb::Artifact>(Source::Kind(kinds::ARTIFACT)),
];

impl Spec {
    const fn of<R: Resource>(listed: Source) -> Self {
        Self { kind: R::KIND, of: R::OF, listed, shown: shown::<R> }
    }
}

fn shown<R: Resource>(record: &Record) -> Result<Option<(Name, pb::Resource)>, Error> {
    let row = R::decode(record)?;
    if row.meta().delete_time.is_some() {
        return Ok(None);
    }
    let name = Name::canonical(R::OF, row.meta().name);
    Ok(Some((name, row.into_message().into_resource())))
}
