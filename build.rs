//! Generates the Rust code of the protobuf contract, without `protoc` on the machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

/// The package of the interface.
const PACKAGE: &str = "modelregistry.v1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let entries = std::fs::read_dir("proto/modelregistry/v1")?;
    let mut protos = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    protos.sort();

    let descriptors = protox::compile(&protos, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("rpc.rs"), requests(&descriptors))?;
    tonic_prost_build::configure()
        // Maps in key order: the same message is the same bytes, which the hash chain needs.
        .btree_map(".")
        // Payloads are passed on without a copy.
        .bytes(".")
        // Whoever connects chooses the transport.
        .build_transport(false)
        .include_file("tree.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The implementations of the traits in `proto/rpc.rs`.
fn requests(descriptors: &FileDescriptorSet) -> String {
    let files = || descriptors.file.iter().filter(|file| file.package() == PACKAGE);
    let messages: BTreeMap<&str, &DescriptorProto> =
        files().flat_map(|file| &file.message_type).map(|message| (message.name(), message)).collect();
    let services = files().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| service.method.iter().map(move |method| (service.name(), method)));
    methods.map(|(service, method)| implementations(service, method, &messages)).collect()
}

fn implementations(
    service: &str,
    method: &MethodDescriptorProto,
    messages: &BTreeMap<&str, &DescriptorProto>,
) -> String {
    let (request, response, name) = (of_package(method.input_type()), of_package(method.output_type()), method.name());
    let message = messages[request];
    let has = |field: &str| message.field.iter().any(|of_message| of_message.name() == field);
    let getter =
        |field: &str, r#type: &str, borrow: &str| format!("fn {field}(&self) -> {type} {{ {borrow}self.{field} }}");
    let setter =
        |field: &str, r#type: &str| format!("fn {field}_mut(&mut self) -> &mut {type} {{ &mut self.{field} }}");
    let optional = |field: &str, r#type: &str, borrow: &str| {
        if has(field) { getter(field, r#type, borrow) } else { String::new() }
    };

    let request_id = if has("request_id") {
        "fn request_id_mut(&mut self) -> Option<&mut String> { Some(&mut self.request_id) }"
    } else {
        ""
    };
    let mut code = format!(
        "impl Request for crate::v1::{request} {{
            type Response = crate::v1::{response};
            const METHOD: &'static str = \"{name}\";
            const PATH: &'static str = \"/{PACKAGE}.{service}/{name}\";
            {request_id}
        }}\n"
    );
    if !method.client_streaming() && !method.server_streaming() {
        code += &format!("impl Unary for crate::v1::{request} {{}}\n");
    }
    if has("request_id") && has("validate_only") {
        code += &format!(
            "impl Mutating for crate::v1::{request} {{ {} {} {} {} }}\n",
            getter("request_id", "&str", "&"),
            getter("validate_only", "bool", ""),
            setter("validate_only", "bool"),
            optional("comment", "&str", "&"),
        );
    }
    if let Some(items) = messages[response].field.iter().find(|field| is_list(field)).filter(|_| has("page_token")) {
        let (item, items) = (of_package(items.type_name()), items.name());
        code += &format!(
            "impl Paged for crate::v1::{request} {{
                type Item = crate::v1::{item};
                {} {} {} {} {}
                fn page(items: Vec<Self::Item>, next_page_token: String) -> Self::Response {{
                    Self::Response {{ {items}: items, next_page_token, ..Default::default() }}
                }}
                fn into_page(response: Self::Response) -> (Vec<Self::Item>, String) {{
                    (response.{items}, response.next_page_token)
                }}
            }}\n",
            setter("page_size", "i32"),
            setter("page_token", "String"),
            optional("filter", "&str", "&"),
            optional("order_by", "&str", "&"),
            optional("show_deleted", "bool", ""),
        );
    }
    code
}

/// A type's name in the package, which has all requests and responses.
fn of_package(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn is_list(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated && field.r#type() == Type::Message
}
