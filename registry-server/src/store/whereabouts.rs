//! Where the records of a registry are: what tells a registry from its copies, which have the same identity.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Where records are. Of each the numbers are compared, and the names are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// In a schema of a PostgreSQL database.
    Postgres {
        /// The cluster's system identifier. A standby has that of its primary.
        system: String,
        /// The cluster's timeline: another one behind each promotion, and each recovery to a point in time.
        timeline: u32,
        /// The database's oid and name.
        database: (u32, String),
        /// The schema's oid and name.
        schema: (u32, String),
    },
    /// In a folder. A copy of it is another folder; a copy of its whole file system is not told from it.
    Folder {
        /// Its path.
        path: String,
        /// Its inode.
        inode: u64,
        /// When it was made, where file systems know: RFC 3339.
        made: Option<String>,
    },
    /// In the folder, and on the volume, that the artifacts are in as well: who copies one copies both.
    Beside,
}

/// What a place is, seen from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The same.
    Same,
    /// The same database, or a physical copy of it: it has another timeline.
    Promoted,
    /// Another one.
    Other,
}

impl Whereabouts {
    pub(super) fn of_folder(folder: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::MetadataExt as _;
        let unknown = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", folder.display()));
        let metadata = folder.metadata().map_err(unknown)?;
        let made = metadata.created().ok();
        let made = made.map(|made| DateTime::<Utc>::from(made).to_rfc3339_opts(SecondsFormat::Nanos, true));
        Ok(Self::Folder { path: folder.display().to_string(), inode: metadata.ino(), made })
    }

    pub(crate) fn seen_from(&self, other: &Self) -> Seen {
        let same = |same: bool| if same { Seen::Same } else { Seen::Other };
        match (self, other) {
            (
                Self::Postgres { system, timeline, database, schema },
                Self::Postgres { system: system_2, timeline: timeline_2, database: database_2, schema: schema_2 },
            ) => match (system, database.0, schema.0) == (system_2, database_2.0, schema_2.0) {
                true if timeline != timeline_2 => Seen::Promoted,
                found => same(found),
            },
            (Self::Folder { inode, made, .. }, Self::Folder { inode: inode_2, made: made_2, .. }) => {
                same(inode == inode_2 && (made == made_2 || made.is_none() || made_2.is_none()))
            }
            (Self::Beside, Self::Beside) => Seen::Same,
            _ => Seen::Other,
        }
    }
}

impl Display for Whereabouts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { system, database: (_, database), schema: (_, schema), timeline } => {
                write!(f, "schema {schema} of database {database} (system {system}, timeline {timeline})")
            }
            Self::Folder { path, inode, .. } => write!(f, "{path} (inode {inode})"),
            Self::Beside => f.write_str("the folder around it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_from_what_they_are_copies_of() {
        let postgres = |system: &str, timeline, database, schema: u32| Whereabouts::Postgres {
            system: system.to_owned(),
            timeline,
            database: (database, "registry".to_owned()),
            schema: (schema, "public".to_owned()),
        };
        let folder = |inode, made: Option<&str>| {
            let made = made.map(str::to_owned);
            Whereabouts::Folder { path: "store".to_owned(), inode, made }
        };
        let original = postgres("7", 1, 5, 2200);
        for (one, other, seen) in [
            (original.clone(), original.clone(), Seen::Same),
            (original.clone(), postgres("7", 2, 5, 2200), Seen::Promoted),
            (original.clone(), postgres("8", 1, 5, 2200), Seen::Other),
            (original.clone(), postgres("7", 1, 6, 2200), Seen::Other),
            (original.clone(), postgres("7", 2, 5, 2201), Seen::Other),
            (folder(1, Some("a")), folder(1, Some("a")), Seen::Same),
            (folder(1, Some("a")), folder(1, Some("b")), Seen::Other),
            (folder(1, Some("a")), folder(1, None), Seen::Same),
            (folder(1, None), folder(2, None), Seen::Other),
            (Whereabouts::Beside, Whereabouts::Beside, Seen::Same),
            (Whereabouts::Beside, folder(1, None), Seen::Other),
            (original, folder(1, None), Seen::Other),
        ] {
            assert_eq!((one.seen_from(&other), other.seen_from(&one)), (seen, seen), "{one}, {other}");
        }
    }

    #[test]
    fn a_folder_is_itself_when_it_is_moved_and_another_one_when_it_is_copied() {
        let place = tempfile::tempdir().unwrap();
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        let before = Whereabouts::of_folder(&one).unwrap();
        std::fs::rename(&one, &other).unwrap();
        assert_eq!(Whereabouts::of_folder(&other).unwrap().seen_from(&before), Seen::Same);
        std::fs::create_dir(&one).unwrap();
        assert_eq!(Whereabouts::of_folder(&one).unwrap().seen_from(&before), Seen::Other);
    }
}
