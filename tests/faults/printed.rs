//! What the command line prints, and what it takes from its surroundings.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use registry_tests::process::{ServerProcess, registryctl};

use crate::cli::{Ctl, server};

/// Erases the line above, colours, breaks the line, and reverses what follows.
const HOSTILE: &str = "fine\"\n   123  forged\u{1b}[1A\u{1b}[2K\r\u{9b}31m\u{202e}\u{200b}";

#[test]
fn text_from_the_registry_drives_no_terminal() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    ctl.ok(&["create", "fraud", "--description", "two\nlines"]);
    ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--description", HOSTILE]);
    ctl.ok(&["promote", "fraud/versions/1", "production", "-m", HOSTILE]);
    let is_plain = |text: &str| text.chars().all(|c| c == '\n' || registry_common::shown::is_plain(c));
    for command in [
        &["get", "fraud"][..],
        &["get", "fraud/versions/1"],
        &["list", "fraud"],
        &["events"],
        &["--json", "events"],
        &["--json", "get", "fraud/versions/1"],
    ] {
        let said = ctl.ok(command);
        assert!(is_plain(&said), "{command:?}: {said:?}");
        let lines_of_text = said.lines().filter(|line| line.trim_start().starts_with("123  forged")).count();
        // Only a description keeps its lines, below its own name.
        assert!(lines_of_text == 0 || command[0] == "get", "{command:?}: {said}");
        assert!(!said.lines().any(|line| line.starts_with("   123  forged")), "{command:?}: {said}");
    }
    assert!(ctl.ok(&["get", "fraud"]).contains("description  two\n             lines\n"));
    for command in [&["get", HOSTILE][..], &["create", HOSTILE], &["alias", "set", "fraud", HOSTILE, "1"]] {
        let complaint = ctl.fails(command).1;
        assert!(is_plain(&complaint) && !complaint.is_empty(), "{command:?}: {complaint:?}");
    }
    let complaint = ctl.fails(&["promote", "fraud/versions/1", HOSTILE]).1;
    assert!(is_plain(&complaint) && complaint.contains("forged\\r\\u{9b}31m"), "{complaint:?}");
    assert_eq!(ctl.json(&["get", "fraud/versions/1"])[0]["description"], HOSTILE);
}

#[test]
fn numbers_and_maps_come_back_as_they_were_given() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    let publish = ["publish", out.to_str().unwrap(), "fraud", "--create"];
    let params = ["seed=9007199254740993", "n_estimators=100", "tol=1e-400", "missing=NaN", "lr=0.1", "list=[1,1e999]"];
    let params: Vec<_> = params.iter().flat_map(|param| ["--param", param]).collect();
    ctl.ok(&[&publish[..], &params, &["--metric", "test.auc=1", "--metric", "test.loss=1e-7"]].concat());
    let printed = ctl.ok(&["--json", "get", "fraud/versions/1"]);
    let expected = r#""hyperparameters":{"list":[1,"1e999"],"lr":0.1,"missing":"NaN","n_estimators":100,"seed":"9007199254740993","tol":"1e-400"}"#;
    assert!(printed.contains(expected), "{printed}");
    assert!(printed.contains(r#""metrics":{"test":{"values":{"auc":1,"loss":1e-7}}}"#), "{printed}");
    let shown = ctl.ok(&["get", "fraud/versions/1"]);
    assert!(shown.contains("test.auc=1\n") && shown.contains("test.loss=1e-7\n"), "{shown}");
    for metric in ["test.n=9007199254740993", "test.n=1e-400", "test.n=1e400"] {
        let (code, complaint) = ctl.fails(&[&publish[..], &["--metric", metric]].concat());
        assert_eq!(code, Some(2), "{complaint}");
    }
    ctl.ok(&[&publish[..], &["--metric", "test.auc=1e300", "--metric", "test.loss=3e-7"]].concat());
    let compared = ctl.ok(&["compare", "fraud/versions/1", "fraud/versions/2"]);
    assert!(compared.contains("1e300") && compared.contains("3e-7") && compared.contains("(+2e-7)"), "{compared}");
    assert!(compared.lines().all(|line| line.len() < 100), "{compared}");
}

#[test]
fn a_list_that_is_cut_off_says_so() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    for model in ["a", "b", "c"] {
        ctl.ok(&["create", model]);
    }
    for (list, which) in [(&["list"][..], "first"), (&["events"], "newest"), (&["events", "--asc"], "oldest")] {
        let run = |limit: &str| {
            let output = ctl.run(&[list, &["--limit", limit]].concat());
            assert!(output.status.success());
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (text(output.stdout), text(output.stderr))
        };
        let (_, said) = run("2");
        let expected = format!("registryctl: these are the {which} 2, and there are more: see --limit\n");
        assert_eq!(said, expected, "{list:?}");
        assert_eq!(run("4").1, "", "{list:?}");
    }
    assert!(ctl.ok(&["events", "--limit", "1"]).contains(" c "), "the newest is not the one that is left out");
    ctl.ok(&["namespace", "create", "risk"]);
    let cut = ctl.run(&["namespace", "list", "--limit", "1"]);
    assert!(String::from_utf8_lossy(&cut.stderr).contains("first 1"), "{cut:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (_folder, server) = server();
    for arguments in [&["completions", "bash"][..], &["events"]] {
        let mut command = registryctl(&server.endpoint());
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_variable_that_is_set_but_empty_is_unset() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let creator = |model: &str, variables: &[(&str, &OsStr)]| {
        let mut command = registryctl(&server.endpoint());
        command.args(["create", model]).env_remove("USER").env_remove("LOGNAME").envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            return Err(said);
        }
        assert_eq!(said, "");
        Ok(ctl.json(&["get", model])[0]["creator"].as_str().unwrap().to_owned())
    };
    let (actor, user, empty) = ("MODEL_REGISTRY_ACTOR", "USER", OsStr::new(""));
    let made = |model: &str, variables: &[(&str, &OsStr)]| creator(model, variables).unwrap();
    assert_eq!(made("a", &[(actor, empty), (user, OsStr::new("ana"))]), "ana");
    let account = Command::new("id").arg("-un").output().unwrap().stdout;
    let account = String::from_utf8(account).unwrap().trim_end().to_owned();
    assert_eq!(made("b", &[(actor, empty), (user, empty), ("RUST_LOG", empty)]), account, "of the password database");
    assert_eq!(made("f", &[(user, empty), ("LOGNAME", OsStr::new("ben"))]), "ben");
    assert_eq!(made("c", &[(actor, OsStr::new("Žofie 模型"))]), "Žofie 模型");
    assert_eq!(made("d", &[(user, OsStr::new("Zoë"))]), "Zoë");
    for unfit in [&b"a\tb"[..], b"\xff"] {
        let said = creator("e", &[(user, OsStr::from_bytes(unfit))]).unwrap_err();
        assert!(said.contains("the login name in USER") && said.contains("--actor"), "{said}");
    }
    let mut elsewhere = registryctl("unused");
    elsewhere.args(["get", "a"]).env("MODEL_REGISTRY_ENDPOINT", "");
    let said = String::from_utf8(elsewhere.output().unwrap().stderr).unwrap();
    assert!(said.contains("\"unused\": not a URL"), "what is given counts: {said}");
}

#[test]
fn whatever_of_an_endpoint_is_not_used_is_refused() {
    for (endpoint, problem) in [
        ("http://ana:secret@127.0.0.1:1", "a user or a password"),
        ("http:/ana:secret@127.0.0.1:1", "\"...@127.0.0.1:1\""),
        ("http://127.0.0.1:1/registry", "a path"),
        ("http://127.0.0.1:1?token=secret", "a query"),
        ("http://127.0.0.1:1#secret", "a fragment"),
        ("grpc://127.0.0.1:1", "the scheme grpc is unknown"),
    ] {
        let (code, complaint) = Ctl::at(endpoint).fails(&["list"]);
        assert_eq!(code, Some(4), "{complaint}");
        assert!(complaint.contains(problem) && !complaint.contains("secret"), "{complaint}");
    }
}

#[test]
fn a_version_is_shown_with_all_that_was_recorded() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let legacy = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/legacy-registry");
    ctl.ok(&["import", legacy.to_str().unwrap()]);
    let shown = ctl.ok(&["get", "breast-cancer/versions/2"]);
    for expected in [
        "hyper-parameters  C=1\n",
        "solver=lbfgs\n",
        "features          mean radius: float64\n",
        "inputs            the features\n",
        "outputs           target: int64\n",
        "standardised      mean radius: mean=14.342706744868039 scale=3.6233255769502803\n",
        "datasets          breast-cancer sha256:75a1",
        "569 rows (test: 114, train: 341, validation: 114)\n",
        "language          python 3.11.7\n",
        "packages          numpy 2.4.6\n",
        "more metadata     deployment_status=production\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    // What is not there takes no line.
    assert!(!shown.contains("source") && !shown.contains("failure"), "{shown}");
}

#[test]
fn a_comparison_shows_what_the_versions_were_made_of() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    for (depth, framework) in [("6", "xgboost"), ("8", "xgboost"), ("8", "lightgbm")] {
        let params = ["--param", &format!("max_depth={depth}"), "--param", "seed=1", "--metric", "test.my_score=1"];
        ctl.ok(&[&["publish", out.to_str().unwrap(), "m", "--create", "--framework", framework][..], &params].concat());
    }
    let compared = ctl.run(&["compare", "m/versions/1", "m/versions/2"]);
    let said = String::from_utf8(compared.stdout).unwrap();
    assert!(said.lines().any(|line| line.split_whitespace().eq(["hyperparameter", "max_depth", "6", "8"])), "{said}");
    assert!(!said.contains("seed") && !said.contains("framework") && said.contains("unknown"), "{said}");
    let hint = String::from_utf8(compared.stderr).unwrap();
    assert!(hint.contains("test.my_score") && hint.contains("metric_directions"), "{hint}");
    let compared = &ctl.json(&["compare", "m/versions/2", "m/versions/3"])[0];
    let expected = serde_json::json!([{"kind": "framework", "name": "", "values": ["xgboost", "lightgbm"]}]);
    assert_eq!(compared["differences"], expected);
    assert_eq!(compared["metrics"][0]["metric"], "my_score");
}

#[test]
fn reports_name_their_fields_as_messages_do() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    assert!(ctl.ok(&["publish", out.to_str().unwrap(), "m", "--create"]).contains(": 1 file, 4 B"));
    let serving = folder.path().join("serving");
    let serving = serving.to_str().unwrap();
    let pulled = &ctl.json(&["pull", "m@latest", "-o", serving])[0];
    assert_eq!(pulled["version"]["name"], "namespaces/default/models/m/versions/1");
    assert_eq!((&pulled["folder"], &pulled["others"]), (&serving.into(), &serde_json::json!([])));
    assert_eq!(pulled["files"], serde_json::json!([format!("{serving}/notes.txt")]));
    let verified = &ctl.json(&["verify", serving])[0];
    assert_eq!(verified["manifestSha256"], pulled["version"]["manifestSha256"]);
    assert!(ctl.ok(&["verify", serving]).contains(": 1 file, "));
}

#[test]
fn that_requests_changed_nothing_or_are_forgotten_is_told_to_who_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_with(folder.path(), "127.0.0.1:0", &["--request-id-keep", "0s"]);
    assert!(server.log().contains("--request-id-keep: a request that is repeated after 0s or more may happen twice"));
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    ctl.ok(&["prune", "fraud", "--keep", "5"]);
    assert!(ctl.ok(&["gc", "--dry-run"]).ends_with("; 2 request ids would be forgotten\n"));
    assert!(ctl.ok(&["gc"]).ends_with("; 2 request ids forgotten\n"));
    for note in ["request.unchanged", "request.forgotten"] {
        assert!(!ctl.ok(&["events"]).contains(note) && !ctl.ok(&["events", "fraud", "--asc"]).contains(note));
        assert!(ctl.ok(&["events", "--type", "request.*"]).contains(note));
        // Programs get the whole chain.
        assert!(ctl.ok(&["--json", "events"]).contains(note));
    }
}
