//! The stages of MLflow, and the aliases that say what is in one.

use registry_proto::v1::Stage;

/// MLflow's stages by their names.
pub const STAGES: [(&str, Stage); 4] = [
    ("None", Stage::Development),
    ("Staging", Stage::Staging),
    ("Production", Stage::Production),
    ("Archived", Stage::Archived),
];
/// The aliases that the registry computes from stages.
const ALIASES: [(&str, Stage); 2] = [("production", Stage::Production), ("staging", Stage::Staging)];

/// The stage of a name, in whatever case.
pub fn stage_named(name: &str) -> Option<Stage> {
    STAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, stage)| *stage)
}

/// The stage that an alias stands for, if it does.
pub fn stage_of_alias(alias: &str) -> Option<Stage> {
    ALIASES.iter().find(|(known, _)| *known == alias).map(|(_, stage)| *stage)
}

/// The alias that stands for a stage, if there is one.
pub fn alias_of_stage(stage: Stage) -> Option<&'static str> {
    ALIASES.iter().find(|(_, known)| *known == stage).map(|(alias, _)| *alias)
}
