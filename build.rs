//! Generates the Rust code of the protobuf contract, without `protoc` on the machine.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut protos: Vec<PathBuf> = Vec::new();
    for folder in ["proto/modelregistry/v1", "proto/modelregistry/store/v1"] {
        for entry in std::fs::read_dir(folder)? {
            protos.push(entry?.path());
        }
    }
    protos.sort();

    let descriptors = protox::compile(&protos, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Maps in key order: the same message is the same bytes, which the hash chain needs.
        .btree_map(".")
        // Payloads are passed on without a copy.
        .bytes(".")
        .include_file("tree.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
