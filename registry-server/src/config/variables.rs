//! What variables of the environment are: settings, the client's, those by which Kubernetes tells of Services, or mistakes.

use super::flags::described;

/// What the names of our variables begin with.
pub(super) const PREFIX: &str = "MODEL_REGISTRY_";

/// What a variable is whose name begins with [`PREFIX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// A setting, by its key.
    Setting(String),
    /// The file with settings.
    File,
    /// Read by clients, not by the server.
    OfClients,
    /// In the environment of every container of a namespace that has a Service called `model-registry` or `model-registry-...`.
    OfService,
    /// None of these, perhaps a mistyped one.
    Unknown {
        /// The variable that was probably meant.
        near: Option<String>,
    },
}

/// The variables of `registryctl` and the client crate.
const OF_CLIENTS: &[&str] =
    &["ENDPOINT", "ACTOR", "NAMESPACE", "CACHE_FOLDER", "TOKEN", "CA_FILE", "CLIENT_CERT", "CLIENT_KEY"];

impl Variable {
    /// What a variable is, by its name behind the prefix.
    pub(super) fn of(name: &str, value: &str) -> Self {
        let is_setting = described().iter().any(|setting| setting.key.to_uppercase() == name);
        match name {
            "CONFIG" => Self::File,
            _ if is_setting => Self::Setting(name.to_lowercase()),
            _ if OF_CLIENTS.contains(&name) => Self::OfClients,
            _ if is_of_service(name, value) => Self::OfService,
            _ => {
                let near = nearest(&name.to_lowercase()).map(|key| format!("{PREFIX}{}", key.to_uppercase()));
                Self::Unknown { near }
            }
        }
    }
}

/// Whether Kubernetes makes such a variable of a Service: `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, and as Docker had
/// them, `X_PORT`, `X_PORT_1_TCP`, `X_PORT_1_TCP_ADDR`.
fn is_of_service(name: &str, value: &str) -> bool {
    let is_url = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let is_protocol = |protocol: &str| ["TCP", "UDP", "SCTP"].contains(&protocol);
    let parts: Vec<_> = name.split('_').collect();
    match parts[..] {
        [.., "SERVICE", "HOST" | "PORT"] => true,
        [.., "PORT", port, protocol, "PROTO" | "PORT" | "ADDR"] if is_port(port) && is_protocol(protocol) => true,
        [.., "PORT", port, protocol] if is_port(port) && is_protocol(protocol) => is_url(),
        [.., "PORT"] => is_url(),
        _ => parts.windows(2).any(|pair| pair == ["SERVICE", "PORT"]),
    }
}

/// The setting that was probably meant by a name that is none.
pub(super) fn nearest(name: &str) -> Option<String> {
    /// As similar as `lisen` is to `listen`, or `drain_seconds` to `drain`.
    const SIMILAR: f64 = 0.85;
    let keys = described().into_iter().map(|setting| setting.key);
    let scored = keys.map(|key| (strsim::jaro_winkler(name, &key), key)).filter(|(score, _)| *score > SIMILAR);
    scored.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, key)| key)
}

/// The end of a message about an unknown name.
pub(super) fn meant(near: Option<&str>) -> String {
    near.map(|near| format!(": did you mean {near}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_variable_is() {
        let unknown = |near: &str| Variable::Unknown { near: (!near.is_empty()).then(|| format!("{PREFIX}{near}")) };
        for (name, value, expected) in [
            ("LISTEN", "x", Variable::Setting("listen".to_owned())),
            ("ENCRYPTION_KEY", "x", Variable::Setting("encryption_key".to_owned())),
            ("CONFIG", "x", Variable::File),
            ("ENDPOINT", "x", Variable::OfClients),
            ("SERVICE_HOST", "10.0.0.1", Variable::OfService),
            ("SERVICE_PORT", "50051", Variable::OfService),
            ("SERVICE_PORT_GRPC", "50051", Variable::OfService),
            ("SERVICE_PORT_GRPC_WEB", "50051", Variable::OfService),
            ("PORT", "tcp://10.0.0.1:50051", Variable::OfService),
            ("PORT_50051_TCP", "tcp://10.0.0.1:50051", Variable::OfService),
            ("PORT_50051_TCP_PROTO", "tcp", Variable::OfService),
            ("PORT_50051_TCP_PORT", "50051", Variable::OfService),
            ("PORT_50051_TCP_ADDR", "10.0.0.1", Variable::OfService),
            // Of a Service called `model-registry-store`, which shares the name of a setting.
            ("STORE_SERVICE_HOST", "10.0.0.2", Variable::OfService),
            ("STORE_PORT", "tcp://10.0.0.2:5432", Variable::OfService),
            ("STORE_PORT_5432_TCP", "tcp://10.0.0.2:5432", Variable::OfService),
            // What somebody thought was a setting.
            ("PORT", "50051", unknown("")),
            ("LISEN", "x", unknown("LISTEN")),
            ("LISTEN_ADDRESS", "x", unknown("LISTEN")),
            ("DRAIN_SECONDS", "8", unknown("DRAIN")),
            ("STORAGEPATH", "x", unknown("STORAGE_PATH")),
            ("listen", "x", unknown("LISTEN")),
            ("FOO", "x", unknown("")),
        ] {
            assert_eq!(Variable::of(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn the_variables_of_clients_are_known() {
        let settings = include_str!("../../../registry-client/registryctl/src/settings.rs");
        let settings = settings.to_owned() + include_str!("../../../registry-client/src/follow/cache.rs");
        let is_name = |character: char| character.is_ascii_uppercase() || character == '_';
        let names: Vec<_> = settings.split(PREFIX).skip(1).map(|rest| rest.split(|c| !is_name(c)).next()).collect();
        assert!(names.len() >= OF_CLIENTS.len());
        for name in names.into_iter().flatten() {
            assert_eq!(Variable::of(name, "x"), Variable::OfClients, "{name}");
        }
    }

    #[test]
    fn no_setting_has_a_name_that_kubernetes_gives() {
        for setting in described() {
            assert!(!is_of_service(&setting.key.to_uppercase(), "tcp://10.0.0.1:1"), "{}", setting.key);
        }
    }
}
