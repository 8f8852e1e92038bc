//! `registryctl bench`: what it says of each figure.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use registry_server::config::StoreChoice;
use registry_tests::process::{ServerProcess, binary};
use registry_tests::store;
use serde_json::Value;

use crate::cli::{Ctl, server};

/// As little as there can be of each.
const LITTLE: &[&str] = &["--clients", "4", "--rounds", "1", "--seconds", "0.1"];

/// The figures of a short run, which leaves no model behind.
fn figures(server: &ServerProcess, scratch: &std::path::Path, what: &[&str]) -> Vec<Value> {
    let ctl = Ctl::new(server);
    let scratch = ["--scratch", scratch.to_str().unwrap()];
    let said = ctl.json(&[&["bench"], what, LITTLE, &scratch].concat());
    assert!(ctl.json(&["list"]).is_empty(), "its models are gone");
    match said.as_slice() {
        [Value::Array(figures)] => figures.clone(),
        other => panic!("{other:?}"),
    }
}

/// The names, when each has a floor and a ratio to it, and was measured in time.
fn names(figures: &[Value]) -> Vec<&str> {
    let sound = |figure: &Value| {
        let number = |field: &str| figure[field].as_f64().unwrap_or_else(|| panic!("{field} of {figure}"));
        assert!(number("value") > 0.0 && number("floor") > 0.0, "{figure}");
        assert!((number("ratio") - number("value") / number("floor")).abs() < 1e-9, "{figure}");
    };
    figures.iter().for_each(sound);
    figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect()
}

#[test]
fn calls_are_measured() {
    let (folder, server) = server();
    let figures = figures(&server, folder.path(), &["promote", "create", "list", "get"]);
    let expected = [
        "get-version, 4 clients",
        "list-versions, 100 of 1000, 4 clients",
        "create-version, 1 client",
        "create-version, 4 clients",
        "create-version, one model of 4 clients",
        "promote, 4 clients",
    ];
    assert_eq!(names(&figures), expected);
    for figure in figures {
        assert_eq!(figure["unit"], "calls/s");
        assert!(figure["p50_micros"].as_f64() <= figure["p99_micros"].as_f64(), "{figure}");
    }
}

#[test]
fn calls_and_files_over_http_are_measured() {
    let (folder, server) = server();
    let figures = figures(&server, folder.path(), &["json", "files", "--artifact-mib", "2"]);
    let expected = [
        "get-version as JSON, 4 clients",
        "list-versions as JSON, 100 of 1000, 4 clients",
        "PUT of 2 MiB over HTTP/1.1",
        "GET of 2 MiB over HTTP/1.1",
    ];
    assert_eq!(names(&figures), expected);
}

#[test]
fn watchers_are_measured() {
    let (folder, server) = server();
    let figures = figures(&server, folder.path(), &["watch", "fan-out", "--watchers", "2,70", "--events", "20"]);
    let expected = [
        "told of a commit, 2 watchers",
        "told of a commit, 70 watchers",
        "fan-out to 2 watchers",
        "fan-out to 70 watchers",
    ];
    assert_eq!(names(&figures), expected);
    assert_eq!(figures[2]["unit"], "events/s");
}

#[test]
fn growth_is_measured() {
    let (folder, server) = server();
    let grown = figures(&server, folder.path(), &["growth", "--versions", "300"]);
    assert_eq!(names(&grown), ["create-version, 4 clients, 300 versions", "get-version, 4 clients, 300 versions"]);
    assert!(grown.iter().all(|figure| figure["better"] == "more"), "{grown:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    let ctl = Ctl::new(&server);
    let elsewhere = ["bench", "growth", "--versions", "100", "--storage-path", elsewhere.path().to_str().unwrap()];
    let (code, said) = ctl.fails(&[&elsewhere, LITTLE].concat());
    assert!(code == Some(1) && said.contains("--storage-path"), "{code:?}: {said}");
    assert!(ctl.json(&["list"]).is_empty(), "its models are gone");
}

#[test]
fn many_watchers_are_measured() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let pid = server.id().to_string();
    let run = ["bench", "watchers", "--watchers", "100,2", "--rate", "200", "--seconds", "0.5", "--server-pid", &pid];
    let said = ctl.json(&run);
    assert!(ctl.json(&["list"]).is_empty(), "its models are gone");
    assert_eq!(said.len(), 2);
    for (said, (watchers, connections)) in said.iter().zip([(100, 2), (2, 1)]) {
        assert_eq!((&said["watchers"], &said["connections"]), (&watchers.into(), &connections.into()), "{said}");
        assert_eq!(said["promotions"], 100, "{said}");
        for rate in ["promotions_per_second", "deliveries_per_second", "unread_micros"] {
            assert!(said[rate].as_f64().unwrap() > 0.0, "{rate} of {said}");
        }
        assert!(said["p50_micros"].as_f64() <= said["max_micros"].as_f64(), "{said}");
        assert_eq!(said["memory"]["target_bytes"], 32 * 1024, "{said}");
    }
    for (wrong, complaint) in [
        (&["watchers", "get"][..], "by themselves"),
        (&["watchers", "--watchers", "0"], "--watchers"),
        (&["get", "--seconds", "0"], "--seconds"),
    ] {
        let (code, said) = ctl.fails(&[&["bench"], wrong].concat());
        assert!(code == Some(2) && said.contains(complaint), "{code:?}: {said}");
    }
}

#[test]
fn a_server_that_takes_no_more_watchers_says_how_it_takes_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_with(folder.path(), "127.0.0.1:0", &["--max-streams", "10"]);
    let (code, said) = Ctl::new(&server).fails(&["bench", "watchers", "--watchers", "20", "--seconds", "0.1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--max-streams"), "{said}");
}

/// Or each benchmark that is killed leaves a process behind.
#[test]
fn the_floor_ends_with_who_started_it() {
    let mut floor = Command::new(binary("registryctl"));
    let mut floor = floor.arg("floor-server").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(floor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let connection = std::net::TcpStream::connect(&address).unwrap();
    // As the system does when a process ends.
    drop(floor.stdin.take());
    assert!(floor.wait().unwrap().success());
    drop(connection);
}

#[test]
fn a_registry_is_filled() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let fill = ["-n", "large", "bench", "fill", "--models", "5", "--versions", "300", "--clients", "4"];
    let filled = ctl.json(&fill).remove(0);
    assert_eq!((&filled["models"], &filled["versions"]), (&5.into(), &300.into()), "{filled}");
    assert_eq!(filled["largest_model_versions"], filled["versions"].as_i64().unwrap() / 10, "{filled}");

    let list = |of: &[&str]| ctl.json(&[&["-n", "large", "list", "--limit", "1000"], of].concat());
    let models = list(&[]);
    let sizes: i64 = models.iter().map(|model| model["versionCount"].as_str().unwrap().parse::<i64>().unwrap()).sum();
    assert_eq!((models.len(), sizes), (5, 300));
    let selective = filled["selective_filter"].as_str().unwrap();
    assert_eq!(list(&["--filter", selective]).len() as i64, filled["selective_versions"].as_i64().unwrap());
    let in_a_stage = list(&["--filter", r#"version.stage != "DEVELOPMENT""#]).len();
    assert_eq!(in_a_stage as i64, filled["stage_changes"].as_i64().unwrap());

    // The same again finds all of it done.
    let head = |of: &[Value]| of.iter().map(|model| model["revision"].clone()).collect::<Vec<_>>();
    assert_eq!(ctl.json(&fill)[0]["largest_model_versions"], 30);
    assert_eq!(head(&list(&[])), head(&models));
    // Others would come between.
    let (code, said) = ctl.fails(&["-n", "large", "bench", "fill", "--models", "5", "--versions", "301"]);
    assert!(code == Some(5) && said.contains("empty namespace"), "{code:?}: {said}");
    let (code, said) = ctl.fails(&["bench", "fill", "--models", "101", "--versions", "100"]);
    assert!(code == Some(2) && said.contains("--models 101"), "{code:?}: {said}");
}

#[test]
fn a_filled_registry_is_asked() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let lists = [&["-n", "large", "bench", "lists"], LITTLE].concat();
    for (empty, expected) in [(&lists[..], 3), (&lists[2..], 1)] {
        let (code, said) = ctl.fails(empty);
        assert!(code == Some(expected) && said.contains("bench fill"), "{code:?}: {said}");
    }
    ctl.json(&["-n", "large", "bench", "fill", "--models", "50", "--versions", "1000", "--clients", "4"]);
    let pid = server.id().to_string();
    let on_disk = match store::choice(folder.path()) {
        StoreChoice::Sled => ["--storage-path".to_owned(), folder.path().to_str().unwrap().to_owned()],
        StoreChoice::Postgres(url) => ["--postgres".to_owned(), url],
    };
    let measured = ["--server-pid", &pid, &on_disk[0], &on_disk[1]];
    let said = ctl.json(&[&lists[..], &measured].concat()).remove(0);
    let registry = &said["registry"];
    assert_eq!((&registry["models"], &registry["versions"]), (&50.into(), &1000.into()), "{said}");
    for bytes in ["index_bytes", "resident_bytes", "disk_bytes"] {
        assert!(registry[bytes].as_i64().unwrap() > 0, "{bytes} of {said}");
    }

    let questions = said["questions"].as_array().unwrap();
    let by_one: Vec<_> = questions.iter().filter(|of| of["clients"] == 1).collect();
    let returned = by_one.iter().map(|of| (of["question"].as_str().unwrap(), of["returned"].as_i64().unwrap()));
    let expected = [
        ("get a version", 1),
        ("50 of a model", 50),
        ("50 of all models", 50),
        ("50 by a selective filter", 20),
        ("50 by an unselective filter", 50),
        ("50 by a metric", 50),
        ("50 by a filter and a metric", 50),
        ("search for a rare word", 20),
        ("search for two frequent words", 50),
        ("counts by framework and stage, of a filter", 12),
        ("trend of the largest model's metric", 100),
        ("what was in production then", 1),
        ("50 of the largest model, when it had half", 50),
    ];
    assert_eq!(returned.collect::<Vec<_>>(), expected);
    let read: Vec<_> =
        by_one.iter().filter_map(|of| Some((of["records_read"].as_i64()?, of["returned"].as_i64()?))).collect();
    assert_eq!(read.len(), 6, "the lists of what is: {said}");
    assert!(read.iter().all(|(read, returned)| (*returned..10 * returned).contains(read)), "{read:?}");
    assert!(questions.iter().any(|of| of["clients"].as_i64().unwrap() > 1), "{said}");
    for of in questions {
        assert!(
            of["p50_micros"].as_f64().unwrap() > 0.0 && of["p50_micros"].as_f64() <= of["p99_micros"].as_f64(),
            "{of}"
        );
        assert!(of["ratio"].as_f64().unwrap() > 0.0 && of["calls"].as_i64().unwrap() > 0, "{of}");
    }
}

#[test]
fn a_log_is_replayed() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let replay = ["bench", "replay", "--rounds", "1"];
    let (code, said) = ctl.fails(&replay);
    assert!(code == Some(1) && said.contains("bench fill"), "{code:?}: {said}");
    let filled = ctl.json(&["bench", "fill", "--models", "5", "--versions", "300", "--clients", "4"]).remove(0);
    let number = |of: &Value, field: &str| of[field].as_i64().unwrap_or_else(|| panic!("{field} of {of}"));

    let said = ctl.json(&replay);
    assert_eq!(said.len(), 3);
    // The namespace is an event as well, which meets no filter.
    let all = 1 + 5 + 300 + number(&filled, "stage_changes");
    let told: Vec<_> = said.iter().map(|of| number(of, "told")).collect();
    assert_eq!(told[..2], [all, all - 1], "{said:?}");
    assert!((20..all / 2).contains(&told[2]), "{said:?}");
    for of in said {
        assert_eq!(number(&of, "events"), all, "{of}");
        let (seconds, rate) = (of["seconds"].as_f64().unwrap(), of["events_per_second"].as_f64().unwrap());
        assert!((rate * seconds - all as f64).abs() < 1e-3, "{of}");
        assert!(of["ratio"].as_f64().unwrap() > 0.0, "{of}");
    }
}
