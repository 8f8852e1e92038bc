//! The settings in force as a file with settings, and as JSON: what `registry-server config` prints.

use registry_common::shown;
use serde_json::json;
use toml::{Table, Value};

use super::flags::described;
use super::{Config, Memory, Origin, Settings};

/// What is written in place of a key.
const HIDDEN: &str = "not shown";
/// The settings that may be URLs.
const URLS: [&str; 3] = ["store", "artifacts", "archive"];

impl Settings {
    /// The settings in force, each with where it comes from, as a file for `--config`. Of secrets only that they are set.
    pub fn to_toml(&self) -> String {
        let table = self.shown();
        let mut text = format!(
            "# The settings of registry-server {}, each with its value and where that comes from. This is a file for --config.\n",
            env!("CARGO_PKG_VERSION")
        );
        let mut group = String::new();
        for setting in described() {
            if setting.group != group {
                group.clone_from(&setting.group);
                text += &format!("\n# --- {group} ---\n");
            }
            text += &format!("\n# {}\n", setting.help);
            let key = &setting.key;
            let origin = self.origin(key);
            let from = shown::line(&origin.to_string()).into_owned();
            let line = match table.get(key) {
                _ if self.is_hidden(key) => format!("# {key} = ...  # from {from}: a secret, {HIDDEN}; set it again"),
                None if *origin == Origin::Default => format!("# {key} =  # not set"),
                None => format!("# {key} =  # not set, by {from}"),
                Some(value) if self.hides_password(key) => {
                    format!("{key} = {value}  # from {from}: a secret in it is {HIDDEN}; write it in place of ...")
                }
                Some(value) if *origin == Origin::Default => format!("{key} = {value}  # default{}", self.here(key)),
                Some(value) => format!("{key} = {value}  # from {from}{}", self.here(key)),
            };
            text += &line;
            text.push('\n');
        }
        text
    }

    /// The same as a JSON object: for each setting its value (null if it is not set or a secret) and where that comes from.
    pub fn to_json(&self) -> serde_json::Value {
        let table = self.shown();
        let of = |key: &str| {
            let value = table.get(key).filter(|_| !self.is_hidden(key));
            let origin = self.origin(key).to_string();
            json!({ "value": value, "from": origin, "hidden": self.is_hidden(key) || self.hides_password(key) })
        };
        described().into_iter().map(|setting| (setting.key.clone(), of(&setting.key))).collect()
    }

    /// The settings that somebody has set, in one line.
    pub fn changed(&self) -> String {
        let (table, defaults) = (self.shown(), Table::try_from(Config::default()).unwrap_or_default());
        // A file may say the defaults as well.
        let differs = |key: &str| self.is_hidden(key) || table.get(key) != defaults.get(key);
        let set = described().into_iter().filter(|setting| differs(&setting.key));
        let shown = set.filter_map(|setting| {
            let key = setting.key;
            match table.get(&key) {
                _ if self.is_hidden(&key) => Some(format!("{key}=({HIDDEN})")),
                value => Some(format!("{key}={}", value?)),
            }
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// What a setting is on this machine, if that depends on the machine.
    fn here(&self, key: &str) -> String {
        let memory = match key {
            "cache" => self.config.cache,
            "index_memory" => self.config.index_memory,
            _ => return String::new(),
        };
        match memory {
            Memory::Share(_) => format!("; {} here", memory.size()),
            Memory::Of(_) => String::new(),
        }
    }

    /// The settings as a file has them, without secrets.
    fn shown(&self) -> Table {
        // All of them have values that a file can have.
        let mut table = Table::try_from(&self.config).unwrap_or_default();
        for key in URLS.into_iter().filter(|key| self.hides_password(key)) {
            if let Some(Value::String(url)) = table.get_mut(key) {
                *url = shown::url(url);
            }
        }
        table
    }

    /// Whether a setting is a secret, and set.
    fn is_hidden(&self, key: &str) -> bool {
        key == "encryption_key" && self.config.encryption_key.is_some()
    }

    /// Whether a part of a setting is a secret.
    fn hides_password(&self, key: &str) -> bool {
        // The server takes no credentials in a place's URL, but somebody may have written some.
        let has_secret = |place: &Option<String>| {
            place.as_ref().is_some_and(|place| place.contains("://") && shown::url(place) != *place)
        };
        match key {
            "store" => self.config.store.has_secret(),
            "artifacts" => has_secret(&self.config.artifacts),
            "archive" => has_secret(&self.config.archive),
            _ => false,
        }
    }
}
