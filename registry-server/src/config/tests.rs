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
        cache: Memory::of_mib(3),
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
    assert_eq!(settings.changed(), "listen=\"127.0.0.1:1\" cache=\"3MiB\" archive_every=\"1m 30s\" max_calls=2");
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
        (
            ("WEBHOOK_ALLOW", "10.0.0.0/8, x"),
            "MODEL_REGISTRY_WEBHOOK_ALLOW: \"x\" is no network: expected ADDRESS/BITS",
        ),
        (("HTTP_HOSTS", "models.example.com, a:1"), "MODEL_REGISTRY_HTTP_HOSTS: \"a:1\" is no name of a host"),
        (("HTTP_ORIGINS", "https://a.example/"), "MODEL_REGISTRY_HTTP_ORIGINS: \"https://a.example/\" is no origin"),
        (("LOG_KEEP", "90days"), "MODEL_REGISTRY_LOG_KEEP: needs an archive"),
        (("TLS_CERT", "cert.pem"), "MODEL_REGISTRY_TLS_CERT: needs tls_key"),
        (("TLS_KEY", "key.pem"), "MODEL_REGISTRY_TLS_KEY: needs tls_cert"),
        (("TLS_CLIENT_CA", "ca.pem"), "MODEL_REGISTRY_TLS_CLIENT_CA: needs tls_cert"),
        (("INSECURE", "yes"), "MODEL_REGISTRY_INSECURE: expected true or false, found \"yes\""),
        (("OIDC_ISSUER", "https://id.example"), "MODEL_REGISTRY_OIDC_ISSUER: needs oidc_audience"),
        (("OIDC_AUDIENCE", "registry"), "MODEL_REGISTRY_OIDC_AUDIENCE: needs oidc_issuer"),
        (("OIDC_ISSUER", "http://id.example"), "MODEL_REGISTRY_OIDC_ISSUER: \"http://id.example\" is no issuer"),
        (("ISSUER", "https://id.example"), "MODEL_REGISTRY_ISSUER: expected a table with url and audience, in a file"),
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
        ("cache = \"0%\"", ": cache: \"0%\" is no part of the memory, such as 25%"),
        ("max_calls = \"many\"", ": max_calls: expected a whole number, found \"many\""),
        ("listen = 50051.5", ": listen: \"50051.5\" has no port"),
        ("encryption_old_key_files = 1", ": encryption_old_key_files: expected a list of texts, found 1"),
        ("# more\nmax_calls = \"", ", line 2: "),
    ] {
        let (_folder, path) = file(text);
        let found = load(&["--config", &path], &[]).unwrap_err();
        assert!(found.starts_with(&format!("{path}{said}")), "{found}");
    }
    assert!(load(&["--config", "missing.toml"], &[]).unwrap_err().starts_with("missing.toml: No such file"));
}

#[test]
fn issuers_are_tables_of_a_file_or_two_flags() {
    let flags = ["--access", "tokens", "--oidc-issuer", "https://id.example", "--oidc-audience", "registry"];
    let by_flags = config(&flags, &[]);
    let table = "access = \"tokens\"\n[[issuer]]\nurl = \"https://id.example\"\naudience = \"registry\"\n";
    let (_folder, path) = file(table);
    let by_table = config(&["--config", &path], &[]);
    assert_eq!(by_flags.issuers(), by_table.issuers());
    let [issuer] = &by_table.issuer[..] else { panic!("{:?}", by_table.issuer) };
    let defaults = [SignatureAlgorithm::RS256, SignatureAlgorithm::ES256, SignatureAlgorithm::EdDSA];
    assert_eq!(
        (&issuer.algorithms[..], issuer.name_claim.as_str(), issuer.prefix),
        (&defaults[..], "sub", Prefix::Users)
    );
    for (more, said) in [
        ("algorithms = [\"HS256\"]", "expected RS256 or RS384"),
        ("algorithms = [\"none\"]", "expected RS256 or RS384"),
        ("prefix = \"groups/\"", "expected users/ or services/, found \"groups/\""),
        ("leeway = \"2m\"", "https://id.example: leeway is 2m; at most 1m are allowed"),
        ("claim = \"x\"", "unknown field"),
        ("[[issuer]]\nurl = \"https://id.example\"", "missing field"),
        ("[[issuer]]\nurl = \"https://b.example\"\naudience = \"x\"", "give each a domain of its own"),
    ] {
        let (_folder, path) = file(&format!("{table}{more}"));
        let found = load(&["--config", &path], &[]).unwrap_err();
        assert!(found.starts_with(&format!("{path}: issuer: ")) && found.contains(said), "{found}");
    }
    let (_folder, path) = file(table);
    let off = load(&["--config", &path, "--access", "off"], &[]).unwrap_err();
    assert!(off.starts_with(&format!("{path}: issuer: needs access")), "{off}");
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
    for text in ["host=db password=secret", "host=db password=a@secret", "sled://ana:secret", "secret"] {
        let said = load(&[], &[("STORE", text)]).unwrap_err();
        assert!(said.contains("expected `sled`") && !said.contains("secret"), "{said}");
    }
    // They are refused when they are opened, and printed before.
    let settings = load(&[], &[("ARTIFACTS", "s3://key:secret@bucket/p"), ("ARCHIVE", "az://c/p?sig=secret")]).unwrap();
    for printed in [settings.to_toml(), settings.to_json().to_string(), settings.changed()] {
        assert!(
            printed.contains("@bucket/p") && !printed.contains("secret@") && !printed.contains("sig=secret"),
            "{printed}"
        );
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

/// Settings of which none is the default.
const ALL: &str = r#"
listen = "[::1]:1"
metrics_listen = "127.0.0.1:2"
tls_cert = "cert.pem"
tls_key = "key.pem"
tls_client_ca = "clients.pem"
tls_principals = ["spiffe://corp.example/sa/{id}=services/{id}", "CN={id}=users/{id}"]
insecure = true
http_hosts = ["models.example.com"]
http_origins = ["https://ui.example.com"]
storage_path = "a \"path\" # with\tall"
store = "postgres://db/registry?sslmode=require"
store_connections = 1
store_patience = "1s"
cache = "1000001B"
index_memory = "1000002B"
artifacts = "s3://bucket/a"
archive = "s3://bucket/b"
archive_every = "1h 30m"
encryption_key_file = "a.key"
encryption_old_key_files = ["b.key", "c.key"]
gc_every = "0s"
gc_grace = "2days"
purge_after = "1h"
access = "tokens"
oidc_issuer = "https://one.example/"
oidc_audience = "registry"
issuer = [
    { url = "https://two.example", audience = "registry", prefix = "services/", name_claim = "azp", leeway = "5s", algorithms = ["PS256"], groups_claim = "/realm_access/roles", groups = { ml-admins = "groups/admins" } },
]
bootstrap_token_file = "first-token"
webhook_allow = ["10.1.0.0/16", "fd00::/8"]
log_keep = "90days"
request_id_keep = "2days"
max_artifact_size = "1GiB"
namespace_quota = "1TiB"
max_message_size = "1MiB"
max_calls = 1
max_uploads = 2
max_streams = 3
principal_rate = 5
max_connections = 4
call_timeout = "1s"
upload_idle = "1s"
connection_idle = "1s"
bookmark_every = "1ms"
snapshot_patience = "1s"
drain = "1s"
log = "registry_server=debug,warn"
log_format = "json"
"#;

#[test]
fn what_is_printed_is_a_file_with_the_same_settings() {
    let (_folder, all) = file(ALL);
    for arguments in [&[][..], &["--config", &all], &["--archive", "a\nb", "--cache", "3MiB"]] {
        let settings = load(arguments, &[]).unwrap();
        let (_folder, path) = file(&settings.to_toml());
        assert_eq!(config(&["--config", &path], &[]), settings.config, "{}", settings.to_toml());
    }
    let defaults = Table::try_from(Config::default()).unwrap();
    let table: Table = toml::from_str(ALL).unwrap();
    for setting in flags::described().into_iter().filter(|setting| setting.key != "encryption_key") {
        let value = table.get(&setting.key).unwrap_or_else(|| panic!("{} is not among all", setting.key));
        assert_ne!(Some(value), defaults.get(&setting.key), "{}", setting.key);
    }
}

#[test]
fn what_is_printed_says_where_it_comes_from_and_no_secret() {
    let variables = [("STORE", "postgres://ana:secret@db/registry"), ("ENCRYPTION_KEY", "secret"), ("MAX_CALLS", "7")];
    let settings = load(&["--drain", "1s"], &variables).unwrap();
    let text = settings.to_toml();
    for line in [
        "# --- Network ---\n\n# Where to listen: HOST:PORT; port 0 picks a free one, :PORT is every interface\n\
         listen = \"127.0.0.1:50051\"  # default\n",
        "\nmax_calls = 7  # from MODEL_REGISTRY_MAX_CALLS\n",
        "\ndrain = \"1s\"  # from --drain\n",
        "\n# archive =  # not set\n",
        &format!("\ncache = \"25%\"  # default; {} here\n", settings.config.cache.size()),
        "\n# encryption_key = ...  # from MODEL_REGISTRY_ENCRYPTION_KEY: a secret, not shown; set it again\n",
        "\nstore = \"postgres://...@db/registry\"  # from MODEL_REGISTRY_STORE: a secret in it is not shown; write it in place of ...\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let json = settings.to_json();
    assert_eq!(json["max_calls"], serde_json::json!({"value": 7, "from": "MODEL_REGISTRY_MAX_CALLS", "hidden": false}));
    assert_eq!(json["encryption_key"]["value"], serde_json::Value::Null);
    for said in [text.clone(), json.to_string(), settings.changed(), format!("{settings:?}")] {
        assert!(!said.contains("secret@") && !said.contains("\"secret\""), "{said}");
    }
    // Read back it says what is missing, in place of another store.
    let (_folder, path) = file(&text);
    assert!(load(&["--config", &path], &[]).unwrap_err().contains("write what it stands for"));
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
            Some(toml::Value::Boolean(value)) => format!(" `{value}` "),
            _ if key == "artifacts" => " in the storage path ".to_owned(),
            _ => " ".to_owned(),
        };
        assert!(manual.contains(&format!("\n| `{key}` |{default}|")), "{key} |{default}|");
    }
}
