//! Where settings come from.

use std::ffi::OsString;
use std::fs;

use clap::Parser;

use super::*;

fn flags(arguments: &[&str]) -> Flags {
    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }
    Command::parse_from(std::iter::once(&"registry-server").chain(arguments)).flags
}

/// The settings of these flags and variables.
fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variable = |(name, value): &(&str, &str)| (OsString::from(format!("MODEL_REGISTRY_{name}")), value.into());
    Settings::with(&flags(arguments), variables.iter().map(variable)).map_err(|error| error.to_string())
}

fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
    load(arguments, variables).unwrap().config
}

/// A file with settings, which is there for as long as the folder.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let (_folder, path) = file("listen = \"127.0.0.1:1\"\nmax_calls = 1\ncache = \"1MiB\"");
    let flags = ["--config", path.as_str(), "--cache", "3MiB", "--archive-every", "1m 30s"];
    let variables = [("MAX_CALLS", "2"), ("CACHE", "2MiB"), ("ENDPOINT", "http://the-client-s-own")];
    let settings = load(&flags, &variables).unwrap();
    let expected = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        max_calls: 2,
        cache: Size::of_mib(3),
        archive_every: Period::of_secs(90),
        ..Config::default()
    };
    assert_eq!(settings.config, expected);
    for (key, origin) in [
        ("listen", path.as_str()),
        ("max_calls", "MODEL_REGISTRY_MAX_CALLS"),
        ("cache", "--cache"),
        ("archive_every", "--archive-every"),
        ("drain", "default"),
    ] {
        assert_eq!(settings.origin(key).to_string(), origin, "{key}");
    }
}

#[test]
fn the_error_says_where_it_is_and_what_can_be_written_there() {
    for (variables, said) in [
        (("MAX_CALLS", "many"), "MODEL_REGISTRY_MAX_CALLS: expected a whole number, found \"many\""),
        (("MAX_CALLS", "-1"), "MODEL_REGISTRY_MAX_CALLS: expected a whole number, found -1"),
        (("DRAIN", "8"), "MODEL_REGISTRY_DRAIN: 8 has no unit: write 8ms, 8s, 8m, 8h or 8days"),
        (("CACHE", "256"), "MODEL_REGISTRY_CACHE: 256 has no unit: write 256B, 256KiB, 256MiB, 256GiB or 256TiB"),
        (("LOG_FORMAT", "xml"), "MODEL_REGISTRY_LOG_FORMAT: expected human or json, found \"xml\""),
        (
            ("LISTEN", "http://x:1"),
            "MODEL_REGISTRY_LISTEN: \"http://x:1\" is no address: expected HOST:PORT, such as 127.0.0.1:50051",
        ),
        (("STORE", "mysql://host/r"), "MODEL_REGISTRY_STORE: mysql://host/r: expected `sled` or postgres://"),
    ] {
        let found = load(&[], &[variables]).unwrap_err();
        assert!(found.starts_with(said), "{found}");
    }
    for (text, said) in [
        ("listenn = \"127.0.0.1:1\"", ": listenn is not a setting: did you mean listen?"),
        ("drain_seconds = 8", ": drain_seconds is not a setting: did you mean drain?"),
        ("[server]\nlisten = 1", ": server is not a setting"),
        ("cache = 256", ": cache: 256 has no unit"),
        ("max_calls = \"many\"", ": max_calls: expected a whole number, found \"many\""),
        ("listen = 50051.5", ": listen: \"50051.5\" has no port"),
        ("encryption_old_key_files = 1", ": encryption_old_key_files: expected a list of paths, found 1"),
        ("# more\nmax_calls = \"", ", line 2: "),
    ] {
        let (_folder, path) = file(text);
        let found = load(&["--config", &path], &[]).unwrap_err();
        assert!(found.starts_with(&format!("{path}{said}")), "{found}");
    }
    assert!(load(&["--config", "missing.toml"], &[]).unwrap_err().starts_with("missing.toml: No such file"));
}

#[test]
fn unknown_variables_are_told_of_and_those_of_kubernetes_are_not() {
    let variables =
        [("LISEN", "x"), ("SERVICE_HOST", "10.0.0.1"), ("PORT", "tcp://10.0.0.1:50051"), ("FOO", "x"), ("BAR", "")];
    let settings = load(&[], &variables).unwrap();
    assert_eq!(settings.config, Config::default());
    assert_eq!(
        settings.unknown,
        [
            "MODEL_REGISTRY_LISEN is not a setting, and is ignored: did you mean MODEL_REGISTRY_LISTEN?",
            "MODEL_REGISTRY_FOO is not a setting, and is ignored",
        ]
    );
    assert_eq!(settings.of_services, ["MODEL_REGISTRY_SERVICE_HOST", "MODEL_REGISTRY_PORT"]);
}

#[test]
fn a_variable_is_text_unless_its_setting_is_a_number() {
    let numbers = [("STORAGE_PATH", "2024"), ("LOG", "true"), ("ARCHIVE", "[x]"), ("LISTEN", "50051")];
    let config = config(&[], &numbers);
    assert_eq!(config.storage_path, PathBuf::from("2024"));
    assert_eq!((config.log.as_str(), config.archive.as_deref()), ("true", Some("[x]")));
    assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
    let files = self::config(&[], &[("ENCRYPTION_OLD_KEY_FILES", "a.key, b.key")]).encryption_old_key_files;
    assert_eq!(files, [PathBuf::from("a.key"), PathBuf::from("b.key")]);
}

#[test]
fn a_variable_that_is_set_but_empty_is_unset() {
    let empty = ["CONFIG", "STORE", "ARCHIVE", "ENCRYPTION_KEY", "MAX_CALLS", "LOG", "GC_EVERY"].map(|name| (name, ""));
    assert_eq!(config(&[], &empty), Config::default());
    let (_folder, path) = file("max_calls = 7");
    assert_eq!(config(&[], &[("CONFIG", &path)]).max_calls, 7);
    assert!(load(&[], &[("CONFIG", "missing.toml")]).is_err());
}

#[test]
fn no_secret_is_repeated() {
    for url in [
        "postgre://ana:secret@db/registry",
        "postgres:/ana:secret@db/registry",
        "postgres://ana:sec?secret=x@db/registry",
        "postgres://ana:secret@db/registry?connect_timeout=1",
    ] {
        for said in [load(&["--store", url], &[]), load(&[], &[("STORE", url)])] {
            let said = said.unwrap_err();
            assert!(said.contains("@db/registry") && !said.contains("secret"), "{said}");
        }
    }
    for text in ["encryption_key = 5417", "encryption_key = \"5417", "store = 5417", "encryption_key = [\"5417\"]"] {
        let (_folder, path) = file(text);
        let said = load(&["--config", &path], &[]).unwrap_err();
        assert!(said.starts_with(&path) && !said[path.len()..].contains("5417"), "{said}");
    }
}

#[test]
fn limits_are_exact() {
    let (_folder, path) = file("max_artifact_size = \"1000001B\"\nnamespace_quota = \"1TiB\"");
    let limits = config(&["--config", &path], &[("NAMESPACE_QUOTA", "10GiB")]).limits();
    assert_eq!(limits, Limits { artifact: Some(1_000_001), namespace: Some(10 << 30) });
}

#[test]
fn every_setting_has_a_help_and_every_flag_is_a_setting() {
    let described = flags::described();
    assert!(described.iter().all(|setting| !setting.help.is_empty() && !setting.group.is_empty()));
    let defaults = Table::try_from(Config::default()).unwrap();
    for key in defaults.keys() {
        assert!(described.iter().any(|setting| setting.key == *key), "{key} has no flag");
    }
}

#[test]
fn the_manual_has_every_setting_with_its_default() {
    let manual = include_str!("../../docs/operations.md");
    let defaults = Table::try_from(Config::default()).unwrap();
    for setting in flags::described() {
        let key = &setting.key;
        let default = match defaults.get(key) {
            Some(toml::Value::String(text)) => format!(" `{text}` "),
            Some(toml::Value::Integer(number)) => format!(" `{number}` "),
            _ if key == "artifacts" => " in the storage path ".to_owned(),
            _ => " ".to_owned(),
        };
        assert!(manual.contains(&format!("\n| `{key}` |{default}|")), "{key} |{default}|");
    }
}
