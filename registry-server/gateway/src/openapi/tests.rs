use std::path::Path;

use super::*;
use crate::pool;
use crate::schema::Schema;

/// Where the document is kept.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

#[test]
fn the_file_is_what_the_descriptors_say() {
    let pool = pool();
    let document = document(&pool, &Routes::new(&pool, &Schema::new(&pool), PACKAGE));
    let text = serde_json::to_string_pretty(&document).expect("it is JSON") + "\n";
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(FILE, &text).expect("it can be written");
    }
    let kept = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is of another contract: WRITE_OPENAPI=1 cargo test -p registry-gateway writes it anew"
    );
}

#[test]
fn every_method_is_there_once_and_every_reference_leads_somewhere() {
    let pool = pool();
    let document = document(&pool, &Routes::new(&pool, &Schema::new(&pool), PACKAGE));
    let mut ids: Vec<_> = Vec::new();
    for operations in document["paths"].as_object().expect("paths").values() {
        ids.extend(operations.as_object().expect("operations").values().filter_map(|one| one["operationId"].as_str()));
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    let methods = pool.services().filter(|service| service.package_name() == PACKAGE);
    for method in methods.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        // Those that stream bytes are files here.
        let is_file = method.is_client_streaming() || method.name() == "DownloadArtifact";
        assert_eq!(ids.contains(&method.name()), !is_file, "{}", method.name());
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().expect("a quote")) {
        assert!(document.pointer(reference).is_some_and(|found| !found.is_null()), "{reference}");
    }
}
