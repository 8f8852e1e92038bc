//! `export` to an OCI image layout, and `import` from one.

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use registry_client::pb;
use registry_common::places;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::args::{Export, ImportOci};
use crate::output::brief;
use crate::progress::Bar;
use crate::publish::made;
use crate::{Context, Failure, objects, tarred, withdrawal};

pub(crate) async fn export(context: &Context, command: Export) -> Result<(), Failure> {
    let bar = Bar::new("downloading");
    let mut export = context.client.export_oci(command.name, &command.oci).progress(bar.follow());
    if let Some(reference) = command.reference {
        export = export.reference(reference);
    }
    let exported = export.send().await;
    bar.end();
    let exported = exported?;
    withdrawal::warn(&exported.version);
    if context.out.json {
        let json = serde_json::json!({
            "version": exported.version.name,
            "reference": exported.reference,
            "digest": exported.digest,
        });
        return context.out.value(&json);
    }
    context.out.line(&format!(
        "exported {} to {} as {}: {}",
        brief(&exported.version.name),
        command.oci.display(),
        exported.reference,
        exported.digest
    ))
}

pub(crate) async fn import(context: &Context, command: ImportOci) -> Result<(), Failure> {
    let (place, model) = command.oci.zip(command.model).ok_or("--oci and --model are needed")?;
    let scratch = tempfile::tempdir()?;
    let layout = layout(&place, scratch.path()).await?;
    let bar = Bar::new("checking and uploading");
    let mut import = context.client.import_oci(layout, model).progress(bar.follow());
    if let Some(reference) = command.reference {
        import = import.reference(reference);
    }
    if let Some(version_id) = command.version_id {
        import = import.version_id(version_id);
    }
    if command.create {
        import = import.create_model_if_missing(pb::Model::default());
    }
    let imported = import.send().await;
    let moved = bar.end();
    made(context, "imported", &imported?, moved)
}

/// The folder of a layout: the one that was named, or a scratch one with what an archive holds.
async fn layout(place: &str, scratch: &Path) -> Result<PathBuf, Failure> {
    let is_url = places::url(place)?.is_some();
    let folder = scratch.to_owned();
    let unpacked = if is_url {
        let (objects, path) = objects::open(place).await?;
        let bytes = objects.get(&path).await.map_err(|error| format!("{place}: {error}"))?.into_stream();
        let reader = StreamReader::new(bytes.map_err(std::io::Error::from));
        let runtime = Handle::current();
        spawn_blocking(move || tarred::unpack(SyncIoBridge::new_with_handle(reader, runtime), &folder)).await?
    } else if Path::new(place).is_file() {
        let file = std::fs::File::open(place)?;
        spawn_blocking(move || tarred::unpack(std::io::BufReader::new(file), &folder)).await?
    } else {
        return Ok(place.into());
    };
    unpacked.map_err(|error| format!("{place}: can't be unpacked: {error}"))?;
    Ok(scratch.to_owned())
}
