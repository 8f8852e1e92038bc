//! TLS, as the URL asks for it. The server's certificate is that of `localhost`, signed by an authority of its own.

use super::*;
use crate::store::postgres::connect::{Connector, Purpose};

/// Whether a connection with these parameters comes about, and is encrypted.
async fn encrypted(host: &str, parameters: &str) -> Result<bool, StoreError> {
    let port = server().parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let url = format!("postgres://postgres@{host}:{port}/postgres?{parameters}");
    let connection = Connector::new(&options(url))?.connect::<()>(Purpose::Read, None).await?.connection;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(connection.client().query_one(sql, &[]).await.unwrap().get(0))
}

#[tokio::test]
async fn each_mode_checks_what_it_promises() {
    let row = client(&server()).await.query_one("SHOW data_directory", &[]).await.unwrap();
    let folder = row.get::<_, String>(0).replace('/', "%2F");
    let authority = format!("sslrootcert={folder}%2F..%2Fauthority.crt");
    // A certificate, but not one that signed the server's.
    let stranger = format!("sslrootcert={folder}%2F..%2Fstranger.crt");
    for (host, parameters, expected) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), Some(false)),
        ("127.0.0.1", String::new(), Some(true)),
        ("127.0.0.1", "sslmode=prefer".to_owned(), Some(true)),
        ("127.0.0.1", "sslmode=require&application_name=a%20test".to_owned(), Some(true)),
        ("127.0.0.1", format!("sslmode=require&{stranger}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&{authority}"), Some(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&{stranger}"), None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=/nowhere".to_owned(), None),
        ("127.0.0.1", "sslmode=verify-ca".to_owned(), None),
        ("127.0.0.1", format!("sslmode=verify-full&{authority}"), None),
        ("localhost", format!("sslmode=verify-full&{authority}"), Some(true)),
        ("localhost", format!("{stranger}&sslmode=verify-full"), None),
        ("localhost", "sslmode=sometimes".to_owned(), None),
    ] {
        let found = encrypted(host, &parameters).await;
        assert_eq!(found.as_ref().ok().copied(), expected, "{host} {parameters}: {found:?}");
    }
}
