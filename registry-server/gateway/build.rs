//! Takes the two files of Swagger UI that are served out of its release, and packs each as it is sent.

use std::fs::File;
use std::io::{self, Cursor};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let mut release = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for file in FILES {
        let end = format!("/dist/{file}");
        let is_it = |path: &str| path.ends_with(&end) && !path.contains("/flavors/");
        let path = release.file_names().flatten().map(|path| path.into_owned()).find(|path| is_it(path));
        let path = path.ok_or_else(|| format!("the release has no {file}"))?;
        let packed = File::create(Path::new(&std::env::var("OUT_DIR")?).join(format!("{file}.gz")))?;
        let mut packed = GzEncoder::new(packed, Compression::best());
        io::copy(&mut release.by_name(&path)?, &mut packed)?;
        packed.finish()?;
    }
    Ok(())
}
