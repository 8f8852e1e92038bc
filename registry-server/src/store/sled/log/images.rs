//! Images of a log that something was done to: each opens with what was acknowledged, or is refused with its place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::disk::check_noted;
use super::super::mark::{Mark, Noted};
use super::frame::HEAD;
use super::tests::{GROUPS, WRITTEN, files, group, last_of, open};
use super::*;

/// Each opens a log, and most sync it a few times.
const CASES: u32 = 120;

/// The files of a log by name, without the room that is reserved at the end.
type Image = BTreeMap<String, Vec<u8>>;

/// Where a frame is.
struct Placed {
    file: String,
    bytes: std::ops::Range<usize>,
}

/// A log of a thousand groups, and where they are in it.
static WHOLE: LazyLock<(Image, Vec<Placed>)> = LazyLock::new(|| {
    let (mut image, mut frames) = (Image::new(), Vec::new());
    for path in files(WRITTEN.0.path()) {
        let (file, mut bytes) = (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        let mut at = BEGIN as usize;
        while let Some(head) = bytes.get(at..at + HEAD).and_then(|head| frame::Head::read(head.try_into().unwrap())) {
            let end = at + HEAD + head.length();
            frames.push(Placed { file: file.clone(), bytes: at..end });
            at = end;
        }
        bytes.truncate(at);
        image.insert(file, bytes);
    }
    assert_eq!(frames.len() as u64, GROUPS);
    (image, frames)
});

/// The same groups in the log of another store.
static FOREIGN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut sealer = Sealer::new(Key::of(Uuid::from_u128(8)));
    WRITTEN.1.iter().map(|group| sealer.seal(group).unwrap()).collect()
});

/// A file of the log. The last one is more often meant: it is where crashes happen.
#[derive(Debug, Clone)]
enum Which {
    Any(Index),
    Last,
}

impl Which {
    fn of(&self, image: &Image) -> String {
        let names: Vec<_> = image.keys().collect();
        match self {
            Self::Any(index) => index.get(&names).to_string(),
            Self::Last => names[names.len() - 1].clone(),
        }
    }
}

/// What may be done to a log.
#[derive(Debug, Clone)]
enum Change {
    Cut {
        file: Which,
        at: Index,
    },
    Flip {
        file: Which,
        at: Index,
        bit: u8,
    },
    Zero {
        file: Which,
        at: Index,
        length: usize,
    },
    /// A group as another store has it, of the same length.
    Foreign {
        frame: Index,
    },
    /// One group lies over another one.
    Over {
        frame: Index,
        by: Index,
    },
    Duplicate {
        frame: Index,
    },
    Swap {
        frame: Index,
        other: Index,
    },
    Remove {
        file: Which,
    },
    Rename {
        file: Which,
        to: u64,
    },
    /// All that is left is the header; or not even that.
    Empty {
        file: Which,
        header: bool,
    },
    /// Two files under each other's names.
    Exchange {
        file: Which,
        other: Which,
    },
    /// Bytes behind the end.
    Append {
        file: Which,
        garbage: Vec<u8>,
    },
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let which = || prop_oneof![any::<Index>().prop_map(Which::Any), Just(Which::Last)];
        let at = any::<Index>;
        prop_oneof![
            (which(), at()).prop_map(|(file, at)| Self::Cut { file, at }),
            (which(), at(), 0..8u8).prop_map(|(file, at, bit)| Self::Flip { file, at, bit }),
            (which(), at(), 1..5000usize).prop_map(|(file, at, length)| Self::Zero { file, at, length }),
            at().prop_map(|frame| Self::Foreign { frame }),
            (at(), at()).prop_map(|(frame, by)| Self::Over { frame, by }),
            at().prop_map(|frame| Self::Duplicate { frame }),
            (at(), at()).prop_map(|(frame, other)| Self::Swap { frame, other }),
            which().prop_map(|file| Self::Remove { file }),
            (which(), 1..3000u64).prop_map(|(file, to)| Self::Rename { file, to }),
            (which(), any::<bool>()).prop_map(|(file, header)| Self::Empty { file, header }),
            (which(), which()).prop_map(|(file, other)| Self::Exchange { file, other }),
            (which(), prop::collection::vec(any::<u8>(), 1..400))
                .prop_map(|(file, garbage)| Self::Append { file, garbage }),
        ]
    }

    /// Whether no more than one group at the end can look as if it had been on its way when the machine went down.
    fn is_small(&self) -> bool {
        !matches!(
            self,
            Self::Cut { .. } | Self::Zero { .. } | Self::Over { .. } | Self::Remove { .. } | Self::Empty { .. }
        )
    }

    fn befall(&self, image: &mut Image) {
        let frames = &WHOLE.1;
        match self {
            Self::Cut { file, at } => {
                let bytes = image.get_mut(&file.of(image)).unwrap();
                bytes.truncate(at.index(bytes.len().max(1)));
            }
            Self::Flip { file, at, bit } => {
                let bytes = image.get_mut(&file.of(image)).unwrap();
                let at = at.index(bytes.len().max(1));
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Zero { file, at, length } => {
                let bytes = image.get_mut(&file.of(image)).unwrap();
                let at = at.index(bytes.len().max(1));
                bytes.iter_mut().skip(at).take(*length).for_each(|byte| *byte = 0);
            }
            Self::Foreign { frame } => {
                let at = frame.index(frames.len());
                splice(image, &frames[at].file, frames[at].bytes.clone(), &FOREIGN[at]);
            }
            Self::Over { frame, by } => {
                let (Placed { file, bytes }, by) = (frame.get(frames), by.get(frames));
                let by = &WHOLE.0[&by.file][by.bytes.clone()];
                splice(image, file, bytes.start..bytes.start + by.len(), by);
            }
            Self::Duplicate { frame } => {
                let Placed { file, bytes } = frame.get(frames);
                let copy = WHOLE.0[file][bytes.clone()].to_vec();
                splice(image, file, bytes.end..bytes.end, &copy);
            }
            Self::Swap { frame, other } => {
                let [former, latter] = [frame.index(frames.len()), other.index(frames.len())];
                let (former, latter) = (&frames[former.min(latter)], &frames[former.max(latter)]);
                if former.bytes == latter.bytes && former.file == latter.file {
                    return;
                }
                let content = |placed: &Placed| WHOLE.0[&placed.file][placed.bytes.clone()].to_vec();
                splice(image, &latter.file, latter.bytes.clone(), &content(former));
                splice(image, &former.file, former.bytes.clone(), &content(latter));
            }
            Self::Remove { file } => drop(image.remove(&file.of(image))),
            Self::Rename { file, to } => {
                let bytes = image.remove(&file.of(image)).unwrap();
                image.insert(file_of(*to), bytes);
            }
            Self::Empty { file, header } => {
                let length = if *header { BEGIN as usize } else { 0 };
                image.get_mut(&file.of(image)).unwrap().truncate(length);
            }
            Self::Exchange { file, other } => {
                let (file, other) = (file.of(image), other.of(image));
                let (one, two) = (image[&file].clone(), image[&other].clone());
                image.extend([(file, two), (other, one)]);
            }
            Self::Append { file, garbage } => image.get_mut(&file.of(image)).unwrap().extend(garbage),
        }
    }
}

/// Replaces bytes of a file, as far as it has them.
fn splice(image: &mut Image, file: &str, range: std::ops::Range<usize>, by: &[u8]) {
    let file = image.get_mut(file).unwrap();
    let end = range.end.min(file.len());
    file.splice(range.start.min(end)..end, by.iter().copied());
}

/// Puts an image into a folder of its own, with what was acknowledged beside it, and room behind the newest file.
fn lay_out(image: &Image, acknowledged: &LogGroup, reserved: u64) -> tempfile::TempDir {
    let store = tempfile::tempdir().unwrap();
    fs::create_dir(store.path().join(FOLDER)).unwrap();
    for (name, bytes) in image {
        let path = store.path().join(FOLDER).join(name);
        fs::write(&path, bytes).unwrap();
        if image.keys().next_back() == Some(name) {
            File::options().write(true).open(&path).unwrap().set_len(bytes.len() as u64 + reserved).unwrap();
        }
    }
    let last = acknowledged.entries.last().unwrap();
    Mark::open(store.path()).unwrap().note(Noted::of(last.revision, &last.events)).unwrap();
    store
}

/// As a store opens its log.
fn reopen(store: &Path) -> Result<(Log, Revision), StoreError> {
    let (log, newest) = open(store)?;
    check_noted(&log, newest, &Mark::open(store).unwrap())?;
    log.cut()?;
    Ok((log, newest))
}

/// A refusal says what is wrong where: a file and a byte in it, or how two files contradict each other, or what is lost.
fn assert_says_where(error: &StoreError, acknowledged: Revision) -> Result<(), TestCaseError> {
    match error {
        StoreError::Damaged(what) => {
            let names = [": at byte ", "the log of another store", "and another name", "is missing"];
            prop_assert!(what.contains(".log: ") && names.iter().any(|name| what.contains(name)), "{}", what);
        }
        StoreError::Lost { newest, noted, .. } => prop_assert!(newest < noted && *noted == acknowledged, "{}", error),
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

fn content(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(store).into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Nothing of an image is lost without a word.
fn check(
    image: &Image,
    acknowledged: &LogGroup,
    reserved: u64,
    from: &Index,
    least: Revision,
) -> Result<(), TestCaseError> {
    let groups = &WRITTEN.1;
    let noted = last_of(acknowledged);
    let store = lay_out(image, acknowledged, reserved);
    let before = content(store.path());
    let (log, newest) = match reopen(store.path()) {
        Ok(opened) => opened,
        Err(error) => {
            assert_says_where(&error, noted)?;
            prop_assert!(content(store.path()) == before, "a refusal changes nothing: {}", error);
            return Ok(());
        }
    };
    prop_assert!(newest >= noted, "revision {} was acknowledged, and the log ends at {}", noted, newest);
    prop_assert!(newest >= least, "revision {} is there, and the log ends at {}", least, newest);
    let mut damaged = false;
    for after in [0, from.index(newest as usize) as Revision, newest - 1, newest] {
        let mut next = after + 1;
        for read in log.groups(after) {
            match read {
                Ok(read) => {
                    // Without a gap, whichever revision reading begins with.
                    let expected = groups.iter().find(|group| last_of(group) >= next);
                    prop_assert!(Some(&read) == expected, "another group than that of {} behind {}", next, after);
                    next = last_of(&read) + 1;
                }
                Err(error) => {
                    assert_says_where(&error, noted)?;
                    damaged = true;
                    next = newest + 1;
                }
            }
        }
        prop_assert_eq!(next, newest + 1, "the log ends too early behind {}", after);
    }
    // It goes on where it ends.
    let further = group(5, newest + 1);
    log.append(&further).unwrap();
    drop(log);
    let (log, newest) = reopen(store.path()).unwrap();
    prop_assert_eq!(newest, last_of(&further));
    if !damaged {
        prop_assert_eq!(log.groups(0).last().transpose().unwrap(), Some(further));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn no_image_of_a_log_lost_anything_without_a_word(
        changes in prop::collection::vec(Change::any(), 1..3),
        // The last group may have been on its way; after a power cut the mark may be older.
        acknowledged in prop_oneof![Just(999), Just(998), 0..999usize],
        reserved in prop_oneof![Just(0), 1..6000u64],
        from in any::<Index>(),
    ) {
        let mut image = WHOLE.0.clone();
        for change in &changes {
            // A change of what another one removed is none.
            if !image.is_empty() && WHOLE.0.keys().all(|name| image.contains_key(name)) {
                change.befall(&mut image);
            }
        }
        // Also behind what the mark says, groups that are whole are not dropped.
        let least = if changes.iter().all(Change::is_small) { last_of(&WRITTEN.1[999 - changes.len()]) } else { 0 };
        check(&image, &WRITTEN.1[acknowledged], reserved, &from, least)?;
    }

    /// What a crash leaves of the last group: the groups before it open, wherever it was cut, and whatever lies behind that.
    #[test]
    fn a_torn_tail_is_cut_and_never_behind_what_was_acknowledged(
        at in any::<Index>(),
        garbage in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..400), (0..999usize).prop_map(stale)],
        reserved in prop_oneof![Just(0), 1..6000u64],
        acknowledged in any::<bool>(),
    ) {
        let mut image = WHOLE.0.clone();
        let last = &WHOLE.1[GROUPS as usize - 1];
        let file = image.get_mut(&last.file).unwrap();
        file.truncate(last.bytes.start + at.index(last.bytes.len()));
        file.extend(garbage);
        let groups = &WRITTEN.1;
        let store = lay_out(&image, &groups[if acknowledged { 999 } else { 998 }], reserved);
        match reopen(store.path()) {
            Ok((log, newest)) => {
                prop_assert!(!acknowledged);
                prop_assert_eq!(newest, last_of(&groups[998]));
                prop_assert!(log.groups(0).map(Result::unwrap).eq(groups[..999].iter().cloned()));
            }
            Err(error) => {
                prop_assert!(acknowledged && matches!(error, StoreError::Lost { .. }), "{}", error);
            }
        }
    }
}

/// A frame of an earlier group of the same log.
fn stale(group: usize) -> Vec<u8> {
    let Placed { file, bytes } = &WHOLE.1[group];
    WHOLE.0[file][bytes.clone()].to_vec()
}
