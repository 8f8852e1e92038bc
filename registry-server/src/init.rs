//! What a new registry needs to be reached by others: an authority, certificates, the first token, and the settings that name them.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{Datelike as _, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use registry_common::shown;
use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::registry::access::tokens::new_secret;

/// How long certificates hold: as long as clients take those of an authority of one's own, everywhere.
const HOLDS: Days = Days::new(825);
const AUTHORITY_HOLDS: Days = Days::new(10 * 365);
/// How much clocks may differ.
const BEFORE: Days = Days::new(1);

// The files in the folder. The settings come last: where they are, the others are.
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server-key.pem";
const CLIENT: &str = "client.pem";
const CLIENT_KEY: &str = "client-key.pem";
const TOKEN: &str = "first-token";
const SETTINGS: &str = "registry.toml";
/// Where the server will keep its data.
const DATA: &str = "data";

/// Why nothing, or not everything, was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file is there already. Nothing was changed.
    #[error("{} is there already: nothing is overwritten; name another folder", .0.display())]
    Exists(PathBuf),
    /// A file or the folder can't be made.
    #[error("{}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A server can't have that name.
    #[error("--name {0:?} is neither a host's name nor an address")]
    Name(String),
    /// Settings are UTF-8.
    #[error("the path {} is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A certificate can't be made.
    #[error("a certificate can't be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// There is no randomness.
    #[error("a token can't be made: {0}")]
    Token(String),
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    folder: PathBuf,
    /// The server's names and addresses.
    names: Vec<String>,
}

/// Makes all files in a folder, which need not be there, for a server that clients call by these names, this machine's and `localhost`.
///
/// # Errors
/// If one of the files is there already, or can't be made.
pub fn init(folder: &Path, names: &[String]) -> Result<Made, InitError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| InitError::File { file, source }
    };
    if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        return Err(InitError::Name(wrong.clone()));
    }
    let names = all(names);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    let folder = folder.canonicalize().map_err(failed(folder))?;
    let files = contents(&folder, &names)?;
    // Before the first one is written.
    if let Some((name, _)) = files.iter().find(|(name, _)| folder.join(name).symlink_metadata().is_ok()) {
        return Err(InitError::Exists(folder.join(name)));
    }
    for (name, content) in &files {
        let file = folder.join(name);
        write(&file, content).map_err(failed(&file))?;
    }
    Ok(Made { folder, names })
}

/// The files and what is in them.
fn contents(folder: &Path, names: &[String]) -> Result<Vec<(&'static str, Zeroizing<String>)>, InitError> {
    let authority = authority()?;
    let (server, server_key) = signed(&authority.issuer, names, "Model Registry", ExtendedKeyUsagePurpose::ServerAuth)?;
    let (client, client_key) = signed(&authority.issuer, &[], "client", ExtendedKeyUsagePurpose::ClientAuth)?;
    let mut token = new_secret().map_err(|error| InitError::Token(error.to_string()))?;
    token.push('\n');
    Ok(vec![
        (CA, authority.pem.into()),
        (CA_KEY, authority.key),
        (SERVER, server),
        (SERVER_KEY, server_key),
        (CLIENT, client),
        (CLIENT_KEY, client_key),
        (TOKEN, token),
        (SETTINGS, settings(folder)?.into()),
    ])
}

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key: Zeroizing<String>,
}

fn authority() -> Result<Authority, InitError> {
    let pair = KeyPair::generate()?;
    // One of a name of its own is told apart from others by all programs.
    let name = format!("Model Registry authority {}", &blake3::hash(pair.public_key_raw()).to_hex()[..8]);
    let mut params = params(&[], &name, AUTHORITY_HOLDS)?;
    // What it signs signs nothing.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (pem, key) = (params.self_signed(&pair)?.pem(), pair.serialize_pem().into());
    Ok(Authority { issuer: Issuer::new(params, pair), pem, key })
}

/// A certificate and its key.
fn signed(
    issuer: &Issuer<'static, KeyPair>,
    names: &[String],
    subject: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(Zeroizing<String>, Zeroizing<String>), InitError> {
    let pair = KeyPair::generate()?;
    let mut params = params(names, subject, HOLDS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok((params.signed_by(&pair, issuer)?.pem().into(), pair.serialize_pem().into()))
}

fn params(names: &[String], subject: &str, holds: Days) -> Result<CertificateParams, InitError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, subject);
    let today = Utc::now().date_naive();
    let date = |date: NaiveDate| {
        // Months and days of a date are small.
        let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        date_time_ymd(date.year(), small(date.month()), small(date.day()))
    };
    params.not_before = date(today - BEFORE);
    params.not_after = date(today + holds);
    Ok(params)
}

/// The names and addresses of the server: those that were given, and those that it has in any case.
fn all(given: &[String]) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let own = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), host];
    let mut names = Vec::new();
    for name in given.iter().chain(own.iter().filter(|name| is_name(name))) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// The settings of a server that uses the files.
fn settings(folder: &Path) -> Result<String, InitError> {
    let path = |name: &str| {
        let path = folder.join(name);
        let text = path.to_str().ok_or_else(|| InitError::Path(path.clone()))?;
        Ok::<_, InitError>(toml::Value::from(text).to_string())
    };
    Ok(format!(
        "# Made by `registry-server init`. `registry-server config` prints all settings.\n\
         # Every interface: connections are TLS, and calls need a token.\n\
         listen = \":50051\"\n\
         tls_cert = {}\n\
         tls_key = {}\n\
         # Without the #, only clients are served that show a certificate of this authority, such as {CLIENT}.\n\
         # tls_client_ca = {}\n\
         access = \"tokens\"\n\
         # The secret of the first token, of users/admin. Not needed any more once the server has started.\n\
         bootstrap_token_file = {}\n\
         storage_path = {}\n",
        path(SERVER)?,
        path(SERVER_KEY)?,
        path(CA)?,
        path(TOKEN)?,
        path(DATA)?,
    ))
}

/// Writes a new file that only its owner can read.
fn write(file: &Path, content: &str) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(content.as_bytes())?;
    out.sync_all()
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = |name: &str| shown::line(&self.folder.join(name).display().to_string()).into_owned();
        let (settings, ca, token) = (path(SETTINGS), path(CA), path(TOKEN));
        let name = self.names.first().map_or("localhost", String::as_str);
        let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        writeln!(f, "made in {}:", shown::line(&self.folder.display().to_string()))?;
        for (files, what) in [
            (format!("{CA}, {CA_KEY}"), "an authority; whoever has its key can make certificates".to_owned()),
            (format!("{SERVER}, {SERVER_KEY}"), format!("the server's certificate, for {}", self.names.join(", "))),
            (format!("{CLIENT}, {CLIENT_KEY}"), "a certificate for clients, if you ask them for one".to_owned()),
            (TOKEN.to_owned(), "the first token, of users/admin".to_owned()),
            (SETTINGS.to_owned(), "the settings".to_owned()),
        ] {
            writeln!(f, "  {files:<27} {what}")?;
        }
        writeln!(f, "\nstart the server:\n  registry-server --config {settings}\n\nand call it:")?;
        writeln!(f, "  export MODEL_REGISTRY_ENDPOINT=https://{host}:50051 MODEL_REGISTRY_CA_FILE={ca}")?;
        writeln!(f, "  registryctl --token-file {token} whoami")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is in a folder, with its modes.
    fn read(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let file = |path: PathBuf| {
            let (mode, content) = (path.metadata().unwrap().permissions().mode(), std::fs::read(&path).unwrap());
            (path, mode & 0o777, content)
        };
        let mut files: Vec<_> = entries.map(file).collect();
        files.sort();
        files
    }

    #[test]
    fn what_is_made_is_its_owners_alone_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("new").join("registry");
        init(&folder, &[]).unwrap();
        let made = read(&folder);
        assert_eq!(made.len(), 8);
        assert!(made.iter().all(|(_, mode, content)| *mode == 0o600 && !content.is_empty()));
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for left in [SETTINGS, CA_KEY] {
            assert!(matches!(init(&folder, &[]), Err(InitError::Exists(_))));
            assert_eq!(read(&folder), made);
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(left), "mine").unwrap();
            assert!(matches!(init(other.path(), &[]), Err(InitError::Exists(file)) if file.ends_with(left)));
            assert_eq!(read(other.path()).len(), 1);
        }
    }

    #[test]
    fn names_are_those_that_a_server_can_have() {
        let place = tempfile::tempdir().unwrap();
        for wrong in ["", "two words", "https://registry.example", "registry:50051", "*.example", "zoë"] {
            let folder = place.path().join("never");
            assert!(matches!(init(&folder, &[wrong.to_owned()]), Err(InitError::Name(_))), "{wrong}");
            assert!(!folder.exists());
        }
        let names = ["registry.example", "::1", "10.0.0.1"].map(str::to_owned);
        let made = init(place.path(), &names).unwrap();
        assert_eq!(made.names[..5], ["registry.example", "::1", "10.0.0.1", "localhost", "127.0.0.1"]);
        assert!(made.to_string().contains("https://registry.example:50051"), "{made}");
    }
}
