//! What becomes of a log that is cut or changed, wherever that happens.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::stored::LogEntry;

pub(super) const STORE: Uuid = Uuid::from_u128(7);
pub(super) const GROUPS: u64 = 1000;
/// So that there are some files.
const SEGMENT: u64 = 24 * 1024;

/// Group number `at`, from 0 on: one to three revisions, some of them worth packing.
pub(super) fn group(at: u64, first: Revision) -> LogGroup {
    let entry = |revision| LogEntry {
        revision,
        events: Bytes::from(format!("{revision} ").repeat((at % 17 * at % 29) as usize)),
        writes: Vec::new(),
    };
    LogGroup { entries: (first..=first + at % 3).map(entry).collect() }
}

fn groups() -> Vec<LogGroup> {
    let mut first = 1;
    let next = |at| {
        let group = group(at, first);
        first += group.entries.len() as u64;
        group
    };
    (0..GROUPS).map(next).collect()
}

pub(super) fn open(store: &Path) -> Result<(Log, Revision), StoreError> {
    Log::with_segments_of(store, STORE, SEGMENT)
}

fn copy(log: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(FOLDER)).unwrap();
    for file in files(log) {
        fs::copy(&file, copy.path().join(FOLDER).join(file.file_name().unwrap())).unwrap();
    }
    copy
}

pub(super) fn files(log: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(log.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A log of a thousand groups as a process leaves it that ends at once.
pub(super) static WRITTEN: LazyLock<(TempDir, Vec<LogGroup>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let (log, newest) = open(folder.path()).unwrap();
    assert_eq!((newest, folder.path().join(FOLDER).exists()), (0, false), "opening changes nothing");
    log.cut().unwrap();
    let groups = groups();
    groups.iter().for_each(|group| log.append(group).unwrap());
    (folder, groups)
});

pub(super) fn last_of(group: &LogGroup) -> Revision {
    group.entries.last().unwrap().revision
}

/// What can be read of a log, and why no more can.
fn read(store: &Path) -> (Vec<LogGroup>, Option<StoreError>) {
    let (log, _) = match open(store) {
        Ok(opened) => opened,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut groups = Vec::new();
    for group in log.groups(0) {
        match group {
            Ok(group) => groups.push(group),
            Err(error) => return (groups, Some(error)),
        }
    }
    (groups, None)
}

#[test]
fn groups_come_back_from_any_revision_on() {
    let (folder, groups) = &*WRITTEN;
    assert!(files(folder.path()).len() > 3, "{:?}", files(folder.path()));
    let copy = copy(folder.path());
    let (log, newest) = open(copy.path()).unwrap();
    assert_eq!(newest, last_of(&groups[999]));
    for after in 0..=newest {
        let expected = groups.iter().find(|group| last_of(group) > after);
        assert_eq!(log.groups(after).next().transpose().unwrap().as_ref(), expected, "behind {after}");
    }
    assert!(log.groups(0).map(Result::unwrap).eq(groups.iter().cloned()));
}

#[test]
fn a_log_that_was_cut_goes_on_and_only_with_what_follows() {
    let copy = copy(WRITTEN.0.path());
    let last = files(copy.path()).pop().unwrap();
    let length = fs::metadata(&last).unwrap().len();
    // In the middle of the last group that is in the file: behind it there are zeros.
    let end = fs::read(&last).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    assert!(end < length, "room is reserved");
    File::options().write(true).open(&last).unwrap().set_len(end - 3).unwrap();
    let (log, newest) = open(copy.path()).unwrap();
    let kept = last_of(&WRITTEN.1[998]);
    assert_eq!(newest, kept);
    log.cut().unwrap();
    let refused = log.append(&group(0, kept + 2)).unwrap_err();
    assert!(refused.to_string().contains(&format!("goes on with revision {}", kept + 1)), "{refused}");
    let group = group(5, kept + 1);
    log.append(&group).unwrap();
    assert_eq!(read(copy.path()).0.last(), Some(&group));
}

#[test]
fn a_file_that_is_missing_or_of_another_store_is_named() {
    let of_written = |change: fn(&[PathBuf])| {
        let copy = copy(WRITTEN.0.path());
        change(&files(copy.path()));
        open(copy.path()).unwrap_err().to_string()
    };
    let missing = of_written(|files| fs::remove_file(&files[1]).unwrap());
    assert!(missing.contains("the file before it, 0000000000") && missing.contains("is missing"), "{missing}");
    let renamed = of_written(|files| {
        let last = files.last().unwrap();
        fs::rename(last, last.with_file_name(file_of(99_999))).unwrap();
    });
    assert!(renamed.contains("and another name"), "{renamed}");
    let copy = copy(WRITTEN.0.path());
    let other = Log::with_segments_of(copy.path(), Uuid::from_u128(8), SEGMENT).unwrap_err().to_string();
    assert!(other.contains("of another store"), "{other}");
}

#[test]
fn a_file_that_was_being_made_is_made_again() {
    for length in [0, 20, BEGIN - 1, BEGIN] {
        let copy = copy(WRITTEN.0.path());
        let newest = last_of(&WRITTEN.1[999]);
        let previous = open(copy.path()).unwrap().0.last();
        // It is closed before the next one is made.
        previous.cut().unwrap();
        let previous = previous.header.first;
        let next = copy.path().join(FOLDER).join(file_of(newest + 1));
        drop(Segment::create(next.clone(), Header { store: STORE, first: newest + 1, previous }).unwrap());
        File::options().write(true).open(&next).unwrap().set_len(length).unwrap();
        let (log, found) = open(copy.path()).unwrap();
        assert_eq!(found, newest, "{length} bytes");
        log.cut().unwrap();
        log.append(&group(1, newest + 1)).unwrap();
        assert_eq!(read(copy.path()).0.len(), 1001);
    }
}

/// Also if reading begins there.
#[test]
fn a_closed_file_that_lacks_its_beginning_leaves_no_gap() {
    let lost = |change: fn(&Path)| {
        let copy = copy(WRITTEN.0.path());
        let files = files(copy.path());
        let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().parse::<Revision>().unwrap();
        let (first, next) = (name(&files[1]), name(&files[2]));
        change(&files[1]);
        let (log, newest) = open(copy.path()).unwrap();
        assert_eq!(newest, last_of(&WRITTEN.1[999]));
        let at_once = |after| log.groups(after).next().unwrap().unwrap_err().to_string();
        let said = [first - 1, first, next - 2].map(at_once);
        assert!(said.iter().all(|said| said.contains(files[1].to_str().unwrap())), "{said:?}");
        assert!(log.groups(next - 1).all(|group| group.is_ok()), "what is behind it can be read");
        let [said, ..] = said;
        said
    };
    let gone = lost(|file| File::options().write(true).open(file).unwrap().set_len(BEGIN).unwrap());
    assert!(gone.contains("at byte 76: it ends before revision"), "{gone}");
    let moved = lost(|file| {
        let bytes = fs::read(file).unwrap();
        let second = memchr::memmem::find_iter(&bytes, frame::MARK).nth(1).unwrap();
        fs::write(file, [&bytes[..BEGIN as usize], &bytes[second..]].concat()).unwrap();
    });
    assert!(moved.contains("at byte 76: it has revision"), "{moved}");
}

#[test]
fn a_file_that_could_be_read_is_never_taken_for_one_that_was_being_made() {
    let copy = copy(WRITTEN.0.path());
    let newest = last_of(&WRITTEN.1[999]);
    let previous = open(copy.path()).unwrap().0.last().header.first;
    let next = copy.path().join(FOLDER).join(file_of(newest + 1));
    drop(Segment::create(next.clone(), Header { store: STORE, first: newest + 1, previous }).unwrap());
    let made = fs::read(&next).unwrap();
    // Damaged, it may have held something: who opened the log knows, and is told what is left.
    fs::write(&next, [&made[..40], b"damage"].concat()).unwrap();
    assert_eq!(open(copy.path()).unwrap().1, newest);
    assert!(next.exists(), "it is removed once the log goes on");
    // As a program of later times may make it.
    let mut later = made[..44].to_vec();
    later[11] = 2;
    later.extend(blake3::hash(&later).as_bytes());
    fs::write(&next, &later).unwrap();
    let said = open(copy.path()).unwrap_err().to_string();
    assert!(said.contains(".log: at byte 8: it has layout 2"), "{said}");
}

/// What is at fault is said by name; and what comes when that is mended follows what was there.
#[test]
fn a_file_that_can_not_be_made_is_named() {
    let copy = copy(WRITTEN.0.path());
    let (log, newest) = Log::with_segments_of(copy.path(), STORE, BEGIN).unwrap();
    log.cut().unwrap();
    let next = copy.path().join(FOLDER).join(file_of(newest + 1));
    fs::create_dir(&next).unwrap();
    let failed = log.append(&group(1, newest + 1)).unwrap_err();
    assert!(matches!(&failed, StoreError::Unavailable(what) if what.contains(next.to_str().unwrap())), "{failed:?}");
    fs::remove_dir(&next).unwrap();
    assert_eq!(open(copy.path()).unwrap().1, newest);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A prefix of the log, as a crash leaves it, has the groups that are whole in it. What was acknowledged beyond is for the caller to
    /// refuse: it is told the newest revision.
    #[test]
    fn every_prefix_opens_to_its_last_whole_group(of_all in 0.0..1.0f64, zeros in any::<bool>()) {
        let (folder, groups) = &*WRITTEN;
        let copy = copy(folder.path());
        let files = files(copy.path());
        let sizes: Vec<_> = files.iter().map(|file| fs::metadata(file).unwrap().len()).collect();
        let mut at = (sizes.iter().sum::<u64>() as f64 * of_all) as u64;
        let cut = sizes.iter().position(|size| { let within = at < *size; if !within { at -= size; } within }).unwrap();
        for file in &files[cut + 1..] {
            fs::remove_file(file).unwrap();
        }
        let file = File::options().write(true).open(&files[cut]).unwrap();
        file.set_len(at).unwrap();
        if zeros {
            // Its room was reserved.
            file.set_len(sizes[cut]).unwrap();
        }
        let (found, problem) = read(copy.path());
        prop_assert!(problem.is_none(), "{problem:?}");
        prop_assert_eq!(&found[..], &groups[..found.len()]);
        let whole = |file: &Path| Segment::open(file.to_owned()).map(|segment| segment.header.first);
        if cut > 0 {
            let first = whole(&files[cut]).unwrap_or_else(|_| last_of(&groups[found.len() - 1]) + 1);
            prop_assert!(found.last().is_some_and(|group| last_of(group) + 1 >= first));
        }
    }
}
