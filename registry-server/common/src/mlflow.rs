//! Models and versions of MLflow, as they are kept here. The server needs it for MLflow's clients, and `registryctl` for imports.

mod kept;
mod names;
mod stages;
pub mod tags;
pub mod told;

use registry_proto::v1 as pb;

pub use self::kept::{Kept, keep};
pub use self::names::{id_of, name_of};
pub use self::stages::{STAGES, alias_of_stage, stage_named, stage_of_alias};

/// The last part of a name.
pub fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The id of the model of a version.
pub fn model_id(version: &pb::Version) -> &str {
    version.name.split('/').nth(3).unwrap_or_default()
}

/// A model to be made for one of MLflow's. People see the name that it has there.
pub fn model<'a>(name: &str, description: &str, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> pb::Model {
    let mut model = pb::Model { description: description.to_owned(), ..Default::default() };
    if id_of(name) != name {
        name.clone_into(&mut model.display_name);
    }
    for (key, value) in tags {
        tags::set_on_model(&mut model, key, value);
    }
    model
}
