//! The newest file of an embedded store's log, as a crash may leave it: what lies in it behind the last group that was acknowledged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;

/// What a group in the log begins with, and how many bytes its head has; its payload's length is the big-endian number at 5, the first
/// revision that at 13, and the number of revisions that at 21.
const MARK: &[u8] = b"GRP1";
const HEAD: u64 = 57;
/// Where the first group begins in a file.
const BEGIN: u64 = 76;

/// What a crash does to what was on its way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// All of it is there.
    Whole,
    /// It ends somewhere.
    Cut,
    /// In its place is something else, or behind it.
    Garbage,
    /// In its place is the beginning of a group that was written before.
    Stale,
}

impl Tear {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Whole, Self::Cut, Self::Garbage, Self::Stale];
}

/// The newest file of the log in a storage folder, where its last group that was acknowledged ends, and where everything ends that is
/// whole.
///
/// # Panics
/// If there is none.
fn ends(storage: &Path) -> (PathBuf, u64, u64) {
    let store = storage.join("store");
    // Two places of 512 bytes; a revision is what each begins with.
    let noted = fs::read(store.join("acknowledged")).unwrap();
    let acknowledged = noted.chunks(512).map(|note| number(&note[..8])).max().unwrap();
    let files = fs::read_dir(store.join("log")).unwrap().map(|file| file.unwrap().path());
    let file = files.max().expect("there is a log");
    let bytes = fs::read(&file).unwrap();
    let (mut at, mut end) = (BEGIN, BEGIN);
    while let Some(head) = bytes.get(at as usize..(at + HEAD) as usize).filter(|head| head.starts_with(MARK)) {
        let behind = at + HEAD + number(&head[5..9]);
        if behind > bytes.len() as u64 {
            break;
        }
        at = behind;
        if number(&head[13..21]) <= acknowledged {
            end = at;
        }
    }
    (file, end, at)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Does that to a store whose process was killed. Says what it did.
///
/// # Panics
/// If the files can't be read or written.
pub fn tear(storage: &Path, tear: Tear) -> String {
    let (path, acknowledged, end) = ends(storage);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut rng = rand::rng();
    let at = rng.random_range(acknowledged..=end.max(acknowledged + 1));
    let garbage = match tear {
        Tear::Whole => Vec::new(),
        Tear::Cut => {
            file.set_len(at).unwrap();
            Vec::new()
        }
        Tear::Garbage => (0..rng.random_range(1..5000)).map(|_| rng.random()).collect(),
        Tear::Stale => {
            let mut begun = vec![0; (acknowledged - BEGIN).min(rng.random_range(1..300)) as usize];
            file.read_exact_at(&mut begun, BEGIN).unwrap();
            begun
        }
    };
    // A group that was not acknowledged is torn as well, in whole or in part.
    file.write_all_at(&garbage, at).unwrap();
    format!("{tear:?} at {at} of {acknowledged}..{end}: {} bytes", garbage.len())
}
