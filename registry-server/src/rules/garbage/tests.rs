use super::*;

const GRACE: Duration = Duration::from_secs(10);

#[test]
fn what_is_garbage() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let ago = |seconds| now - Duration::from_secs(seconds);
    let ahead = now + Duration::from_secs(1);
    let table = [
        (true, ago(1000), GRACE, Fate::Listed),
        (true, ahead, GRACE, Fate::Listed),
        (false, ago(9), GRACE, Fate::Recent),
        (false, ago(10), GRACE, Fate::Garbage),
        (false, now, Duration::ZERO, Fate::Garbage),
        (false, ahead, Duration::ZERO, Fate::Recent),
    ];
    for (listed, written, grace, expected) in table {
        assert_eq!(fate(listed, written, now, grace), expected, "{listed} {written:?} {grace:?}");
    }
}

#[test]
fn a_sweep_shows_once_it_is_over() {
    assert_eq!(Sweep::default().settled(), 0);
    assert_eq!(Sweep { generation: 3, under_way: false }.settled(), 3);
    assert_eq!(Sweep { generation: 3, under_way: true }.settled(), 2);
}

#[test]
fn a_chunk_is_called_after_the_newest_sweep_that_had_it_and_was_given_up() {
    let mut names = Names::default();
    names.give_up(3, ["a", "b"]);
    names.give_up(7, ["b"]);
    names.give_up(9, []);
    for (chunk, newest, all) in [("a", 3, vec![3, 0]), ("b", 7, vec![7, 3, 0]), ("c", 0, vec![0])] {
        assert_eq!((names.newest(&chunk), names.all(&chunk).collect()), (newest, all), "{chunk}");
    }
    assert_eq!(names.given_up(), &BTreeSet::from([3, 7, 9]));
}
