//! Where settings come from.

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

#[test]
#[expect(clippy::result_large_err, reason = "the signature of figment's jail")]
fn flags_go_over_environment_over_file_over_defaults() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("registry.toml", "listen = \"127.0.0.1:1\"\nmax_calls = 1\ncache = \"1MiB\"")?;
        jail.set_env("MODEL_REGISTRY_MAX_CALLS", "2");
        jail.set_env("MODEL_REGISTRY_CACHE", "2MiB");
        jail.set_env("MODEL_REGISTRY_ENDPOINT", "http://the-client-s-own");
        let flags = flags(&["--config", "registry.toml", "--cache", "3MiB", "--archive-every", "1m 30s"]);
        let config = Config::load(&flags).map_err(|error| *error)?;
        let expected = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            max_calls: 2,
            cache: Size::of_mib(3),
            archive_every: Period::of_secs(90),
            ..Config::default()
        };
        assert_eq!(config, expected);
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of figment's jail")]
fn what_can_not_be_understood_is_refused() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("typo.toml", "listenn = \"127.0.0.1:1\"")?;
        assert!(Config::load(&flags(&["--config", "typo.toml"])).is_err());
        assert!(Config::load(&flags(&["--config", "missing.toml"])).is_err());
        jail.set_env("MODEL_REGISTRY_STORE", "postgres://host/registry");
        let url = StoreChoice::Postgres("postgres://host/registry".to_owned());
        assert_eq!(Config::load(&Flags::default()).unwrap().store, url);
        jail.set_env("MODEL_REGISTRY_STORE", "mysql://host/registry");
        assert!(Config::load(&Flags::default()).unwrap_err().to_string().contains("postgres://"));
        jail.set_env("MODEL_REGISTRY_STORE", "sled");
        jail.set_env("MODEL_REGISTRY_MAX_CALLS", "many");
        assert!(Config::load(&Flags::default()).is_err());
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of figment's jail")]
fn a_variable_that_is_set_but_empty_is_unset() {
    figment::Jail::expect_with(|jail| {
        for name in ["CONFIG", "STORE", "ARCHIVE", "ENCRYPTION_KEY", "MAX_CALLS", "LOG", "GC_EVERY"] {
            jail.set_env(format!("MODEL_REGISTRY_{name}"), "");
        }
        assert_eq!(Config::load(&Flags::default()).map_err(|error| *error)?, Config::default());
        jail.create_file("registry.toml", "max_calls = 7")?;
        jail.set_env("MODEL_REGISTRY_CONFIG", "registry.toml");
        assert_eq!(Config::load(&Flags::default()).map_err(|error| *error)?.max_calls, 7);
        jail.set_env("MODEL_REGISTRY_CONFIG", "missing.toml");
        assert!(Config::load(&Flags::default()).is_err());
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of figment's jail")]
fn no_password_of_a_store_is_repeated() {
    figment::Jail::expect_with(|jail| {
        for url in [
            "postgre://ana:secret@db/registry",
            "postgres:/ana:secret@db/registry",
            "postgres://ana:sec?secret=x@db/registry",
            "postgres://ana:secret@db/registry?connect_timeout=1",
        ] {
            let by_flag = Config::load(&flags(&["--store", url])).unwrap_err().to_string();
            jail.set_env("MODEL_REGISTRY_STORE", url);
            let by_variable = Config::load(&Flags::default()).unwrap_err().to_string();
            for said in [by_flag, by_variable] {
                assert!(said.contains("@db/registry") && !said.contains("secret"), "{said}");
            }
        }
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of figment's jail")]
fn limits_are_exact() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("registry.toml", "max_artifact_size = \"1000001B\"\nnamespace_quota = \"1TiB\"")?;
        jail.set_env("MODEL_REGISTRY_NAMESPACE_QUOTA", "10GiB");
        let limits = Config::load(&flags(&["--config", "registry.toml"])).map_err(|error| *error)?.limits();
        assert_eq!(limits, Limits { artifact: Some(1_000_001), namespace: Some(10 << 30) });
        Ok(())
    });
}
