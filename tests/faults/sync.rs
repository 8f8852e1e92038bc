//! In which order the server writes, syncs and answers, as the kernel sees it.

use registry_tests::process::{ServerProcess, sled_command};

use crate::impatient;
use crate::trace::{self, Call};

/// Where the log is, and what each group in it begins with.
const LOG: &str = "/store/log/00000000000000000001.log";
const GROUP: &str = "GRP1";
const CALLS: &str = "trace=fdatasync,fsync,sync_file_range,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_sent_after_fdatasync() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let server = sled_command(&folder.path().join("data"), "127.0.0.1:0");
    // The strings are long enough to find a commit, or an answer, by what is in it.
    let server = ServerProcess::spawn(trace::command(&server, &["-s", "65536", "-e", CALLS], &file));

    let client = impatient(&server.endpoint());
    let mut marks = Vec::new();
    for model in 0..3 {
        let mark = format!("models/mark-{model}-of-a-model");
        client.create_model(&mark).await.unwrap();
        marks.push(mark.clone());
        for version in 0..3 {
            let id = format!("mark-{model}-{version}-of-a-version");
            client.create_version(&mark).version_id(&id).await.unwrap();
            marks.push(id);
        }
    }
    let id = server.id();
    assert!(server.terminate().success());

    let calls = trace::of(id, &file).await;
    // One call was made at a time, and each made a group.
    let commits: Vec<_> = calls.iter().filter(|call| call.is_write_to(LOG) && call.text.contains(GROUP)).collect();
    assert_eq!(commits.len(), marks.len());
    for (commit, mark) in commits.into_iter().zip(marks) {
        assert_is_synced(&calls, commit, &mark);
    }
}

/// Between the write of a commit and the first that the network got to see of it, there is a sync from beginning to end.
fn assert_is_synced(calls: &[Call], commit: &Call, mark: &str) {
    let answer = calls.iter().find(|call| call.is_socket_write() && call.text.contains(mark));
    let answer = answer.unwrap_or_else(|| panic!("{mark} was never answered"));
    // The head of an answer may go out before its body. One call is made at a time: whatever goes out is a part of this answer.
    let first =
        calls.iter().find(|call| call.is_socket_write() && call.begin > commit.begin).expect("there is an answer");
    assert!(first.begin <= answer.begin, "{mark}: was answered before it was written:\n{answer:#?}\n{commit:#?}");
    let written = commit.end.expect("it is written");
    let synced = calls
        .iter()
        .any(|call| call.is_sync_of(LOG) && call.begin > written && call.end.is_some_and(|end| end < first.begin));
    let between: Vec<_> = calls.iter().filter(|call| (commit.begin..=first.begin).contains(&call.begin)).collect();
    assert!(synced, "{mark}: no sync between the write and the answer: {between:#?}");
}
