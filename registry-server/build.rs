//! Generates the Rust code of what the server keeps in its store, without `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=../proto/modelregistry/v1");
    let entries = std::fs::read_dir("proto/modelregistry/store/v1")?;
    let mut protos = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    protos.sort();

    let mut descriptors = protox::compile(&protos, ["proto", "../proto"])?;
    // No message refers to the types of the annotations.
    descriptors.file.retain(|file| file.package() != "google.api");
    prost_build::Config::new()
        // The same records are the same bytes: maps are in key order.
        .btree_map(["."])
        .bytes(["."])
        .extern_path(".modelregistry.v1", "::registry_proto::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
