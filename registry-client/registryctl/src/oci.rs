//! `export` to an OCI image layout, and `import` from one.

use registry_client::pb;

use crate::args::{Export, ImportOci};
use crate::output::brief;
use crate::progress::Bar;
use crate::publish::made;
use crate::{Context, Failure, withdrawal};

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
    let (layout, model) = command.oci.zip(command.model).ok_or("--oci and --model are needed")?;
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
