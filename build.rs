//! Generates the Rust code of the protobuf contract, without `protoc` on the machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

/// The package of the interface.
const PACKAGE: &str = "modelregistry.v1";
/// The option of a field that takes a permission of its own.
const FIELD_PERMISSION: &str = "modelregistry.v1.field_permission";
// Values of `google.api.FieldBehavior`.
const OUTPUT_ONLY: i32 = 3;
const IMMUTABLE: i32 = 5;
const IDENTIFIER: i32 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let entries = std::fs::read_dir("proto/modelregistry/v1")?;
    let mut protos = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    protos.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(&protos)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Encoded by the compiler: prost's types would drop the annotations.
    let encoded = compiler.encode_file_descriptor_set();
    let pool = DescriptorPool::decode(encoded.as_slice())?;
    std::fs::write(out.join("descriptors.bin"), encoded)?;
    let services: Vec<_> = pool.services().filter(|service| service.package_name() == PACKAGE).collect();
    let names: Vec<_> = services.iter().map(|service| service.full_name()).collect();
    std::fs::write(out.join("services.rs"), format!("&{names:?}"))?;
    let methods: Vec<_> = services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    std::fs::write(out.join("rpc.rs"), methods.iter().map(|method| of_method(&pool, method)).collect::<String>())?;
    std::fs::write(out.join("reads.rs"), reads(&methods))?;
    std::fs::write(out.join("paths.rs"), format!("&{:?}", methods.iter().map(path).collect::<Vec<_>>()))?;
    std::fs::write(out.join("permissions.rs"), permissions(&pool, &methods))?;
    let resources = resources(&pool).ok_or("events have no resources")?;
    std::fs::write(out.join("resource.rs"), of_resources(&pool, &resources))?;
    std::fs::write(out.join("event_types.rs"), event_types(&resources, &methods))?;

    let mut descriptors = compiler.file_descriptor_set();
    // The annotations are options of the descriptors only: no message refers to their types.
    descriptors.file.retain(|file| file.package() != "google.api");
    tonic_prost_build::configure()
        // Maps in key order: the same message is the same bytes, which the hash chain needs.
        .btree_map(".")
        // Payloads are passed on without a copy.
        .bytes(".")
        // Who connects, and over what, is for the client to say.
        .build_transport(false)
        .include_file("tree.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The traits in `proto/rpc.rs` for the request of a method.
fn of_method(pool: &DescriptorPool, method: &MethodDescriptor) -> String {
    let (message, service) = (method.input(), method.parent_service().full_name().to_owned());
    let (request, response, name) = (message.name(), method.output(), method.name());
    let has = |field: &str| message.get_field_by_name(field).is_some();
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
    let permission = permission(pool, method);
    let mut code = format!(
        "impl Request for crate::v1::{request} {{
            type Response = crate::v1::{};
            const METHOD: &'static str = \"{name}\";
            const PATH: &'static str = \"/{service}/{name}\";
            const PERMISSION: &'static str = {permission:?};
            {request_id}
            fn names(&self) -> Vec<&str> {{
                let mut names = Vec::new();
                {names}
                names
            }}
            {field_permissions}
        }}\n",
        response.name(),
        names = names_in(pool, &message, "self"),
        field_permissions = match set_fields_in(pool, &message, "self", false) {
            nothing if nothing.is_empty() => nothing,
            code => format!(
                "fn field_permissions(&self) -> Vec<&'static str> {{ let mut permissions = Vec::new(); {code} permissions }}"
            ),
        },
    );
    if !method.is_client_streaming() && !method.is_server_streaming() {
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
    if let Some((item, items)) = items_of(&response).filter(|_| has("page_token")) {
        code += &format!(
            "impl Paged for crate::v1::{request} {{
                type Item = crate::v1::{item};
                {page_size} {page_token} {filter} {order_by} {show_deleted} {count} {explain}
                fn page(items: Vec<Self::Item>, next_page_token: String) -> Self::Response {{
                    Self::Response {{ {items}: items, next_page_token, ..Default::default() }}
                }}
                fn into_page(response: Self::Response) -> (Vec<Self::Item>, String) {{
                    (response.{items}, response.next_page_token)
                }}
            }}\n",
            item = item.name(),
            items = items.name(),
            page_size = setter("page_size", "i32"),
            page_token = setter("page_token", "String"),
            filter = optional("filter", "&str", "&"),
            order_by = optional("order_by", "&str", "&"),
            show_deleted = optional("show_deleted", "bool", ""),
            count = optional("count", "bool", ""),
            explain = optional("explain", "bool", ""),
        );
    }
    if has("read_mask") {
        let read = items_of(&response).filter(|_| has("page_token")).map_or(response, |(item, _)| item);
        code += &format!(
            "impl Masked for crate::v1::{request} {{
                type Resource = crate::v1::{};
                {}
            }}\n",
            read.name(),
            setter("read_mask", "Option<prost_types::FieldMask>"),
        );
    }
    code
}

/// What a caller of a method has to be allowed.
fn permission(pool: &DescriptorPool, method: &MethodDescriptor) -> String {
    let permission = option(pool, method.options(), "modelregistry.v1.permission");
    let permission = permission.as_ref().and_then(Value::as_str).unwrap_or_default();
    assert!(permission.contains('.'), "{} has no permission", method.full_name());
    permission.to_owned()
}

/// All that callers may have to be allowed, in order.
fn permissions(pool: &DescriptorPool, methods: &[MethodDescriptor]) -> String {
    let mut permissions: BTreeSet<_> = methods.iter().map(|method| permission(pool, method)).collect();
    let fields = pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    let of_fields = fields.filter_map(|field| option(pool, field.options(), FIELD_PERMISSION));
    permissions.extend(of_fields.filter_map(|permission| permission.as_str().map(str::to_owned)));
    format!("&{:?}", Vec::from_iter(permissions))
}

/// The fields by which requests say what they are about.
const NAMING: [&str; 4] = ["name", "names", "parent", "resource"];

/// Collects the names of what a message in a request is about: those of its own fields, of the resource in it, and of the requests in it.
/// What else a resource refers to is not what the request is about.
fn names_in(pool: &DescriptorPool, message: &MessageDescriptor, at: &str) -> String {
    let mut code = String::new();
    for field in message.fields().filter(|field| field.containing_oneof().is_none()) {
        let (name, reference) = (field.name(), option(pool, field.options(), "google.api.resource_reference"));
        code += &match (reference, message_in(&field)) {
            (Some(_), _) if NAMING.contains(&name) && field.is_list() => {
                format!("names.extend({at}.{name}.iter().map(String::as_str));\n")
            }
            // A namespace that is left out is the default one.
            (Some(Value::Message(of)), _) if name == "parent" && is_of_namespace(&of) => {
                format!("names.push(if {at}.parent.is_empty() {{ \"namespaces/default\" }} else {{ &{at}.parent }});\n")
            }
            (Some(_), _) if NAMING.contains(&name) => {
                format!("names.extend(Some({at}.{name}.as_str()).filter(|name| !name.is_empty()));\n")
            }
            (_, Some(inner)) if option(pool, inner.options(), "google.api.resource").is_some() && !field.is_list() => {
                let given = "filter(|resource| !resource.name.is_empty())";
                format!("names.extend({at}.{name}.as_ref().{given}.map(|resource| resource.name.as_str()));\n")
            }
            (_, Some(inner)) if inner.package_name() == PACKAGE && field.is_list() => {
                let inner = names_in(pool, &inner, "one");
                if inner.is_empty() { inner } else { format!("for one in &{at}.{name} {{ {inner} }}\n") }
            }
            _ => String::new(),
        };
    }
    code
}

/// Whether something that is referred to is a namespace, by what it is or by what lies in it.
fn is_of_namespace(reference: &DynamicMessage) -> bool {
    let is = |field: &str, r#type: &str| {
        reference.get_field_by_name(field).is_some_and(|value| value.as_str() == Some(r#type))
    };
    is("type", "modelregistry.dev/Namespace") || is("child_type", "modelregistry.dev/Model")
}

/// Where the methods are called that are asked and answered with one message, and change nothing.
fn reads(methods: &[MethodDescriptor]) -> String {
    let changes = |method: &MethodDescriptor| {
        ["request_id", "validate_only"].iter().any(|field| method.input().get_field_by_name(field).is_some())
    };
    let is_unary = |method: &MethodDescriptor| !method.is_client_streaming() && !method.is_server_streaming();
    let reads = methods.iter().filter(|&method| is_unary(method) && !changes(method));
    format!("&{:?}", reads.map(path).collect::<Vec<_>>())
}

/// Where a method is called.
fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// The list in a response, and what it is of.
fn items_of(response: &MessageDescriptor) -> Option<(MessageDescriptor, FieldDescriptor)> {
    response.fields().find_map(|field| Some((message_in(&field)?, field)).filter(|(_, field)| field.is_list()))
}

/// A resource that events tell of.
struct Resource {
    message: MessageDescriptor,
    /// Its annotation.
    resource: DynamicMessage,
    /// Its place in an event.
    told: FieldDescriptor,
}

fn resources(pool: &DescriptorPool) -> Option<Vec<Resource>> {
    let told = pool.get_message_by_name(&format!("{PACKAGE}.Resource"))?;
    let resources = told.fields().filter_map(|told| {
        let message = message_in(&told)?;
        let Some(Value::Message(resource)) = option(pool, message.options(), "google.api.resource") else {
            return None;
        };
        Some(Resource { message, resource, told })
    });
    Some(resources.collect())
}

/// The trait in `proto/resource.rs` for all of them, and their list.
fn of_resources(pool: &DescriptorPool, resources: &[Resource]) -> String {
    let singulars: Vec<_> = resources.iter().map(|resource| resource.text("singular")).collect();
    let code: String = resources.iter().map(|resource| resource.code(pool)).collect();
    code + &format!("pub(super) const SINGULARS: &[&str] = &{singulars:?};\n")
}

/// The types of the events that all kinds have in common, as far as there are methods that lead to them.
fn event_types(resources: &[Resource], methods: &[MethodDescriptor]) -> String {
    let mut code = String::new();
    let mut all = Vec::new();
    for resource in resources {
        let (name, singular) = (resource.message.name(), resource.text("singular"));
        for (verb, done) in
            [("Create", "created"), ("Update", "updated"), ("Delete", "deleted"), ("Undelete", "undeleted")]
        {
            if methods.iter().any(|method| method.name() == format!("{verb}{name}")) {
                let constant = format!("{singular}_{done}").to_uppercase();
                let article = if singular.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
                code += &format!("/// `{singular}.{done}`: {article} {singular} was {done}.\n");
                code += &format!("pub const {constant}: &str = \"{singular}.{done}\";\n");
                all.push(constant);
            }
        }
    }
    code + &format!("pub(super) const STANDARD: &[&str] = &[{}];\n", all.join(", "))
}

impl Resource {
    fn text(&self, field: &str) -> String {
        let value = self.resource.get_field_by_name(field);
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The trait in `proto/resource.rs`.
    fn code(&self, pool: &DescriptorPool) -> String {
        let Self { message, told, .. } = self;
        let behaviors = |field: &FieldDescriptor| -> Vec<i32> {
            let values = option(pool, field.options(), "google.api.field_behavior");
            let values = values.iter().filter_map(Value::as_list).flatten();
            values.filter_map(Value::as_enum_number).collect()
        };
        // An etag is a precondition of the call, and not what it writes.
        let theirs = |field: &FieldDescriptor| {
            let behaviors = behaviors(field);
            field.name() != "etag" && !behaviors.contains(&OUTPUT_ONLY) && !behaviors.contains(&IDENTIFIER)
        };
        let fixed = |field: &FieldDescriptor| behaviors(field).contains(&IMMUTABLE);
        let names = |wanted: &dyn Fn(&FieldDescriptor) -> bool| -> String {
            message.fields().filter(|field| wanted(field)).map(|field| format!("{:?}, ", field.name())).collect()
        };
        let arms = |wanted: &dyn Fn(&FieldDescriptor) -> bool, arm: &dyn Fn(&str) -> String| -> String {
            let fields = message.fields().filter(|field| wanted(field));
            fields.map(|field| format!("{:?} => {}\n", field.name(), arm(&identifier(field.name())))).collect()
        };
        let time = |field: &str| match message.get_field_by_name(field) {
            Some(_) => (format!("self.{field}.as_ref()"), format!("Some(&mut self.{field})")),
            None => ("None".to_owned(), "None".to_owned()),
        };
        let (delete_time, delete_time_mut) = time("delete_time");
        let (_, purge_time_mut) = time("purge_time");
        let told = told.name().split('_').map(capitalized).collect::<String>();
        let changes: String = message
            .fields()
            .filter(|field| field.name() != "name")
            .map(|field| {
                let (name, field) = (field.name().to_owned(), identifier(field.name()));
                format!(
                    "let one = |of: &Self| Self {{ {field}: of.{field}.clone(), ..Self::default() }};
                    if self.{field} == after.{field} || one(&self).encode_to_vec() == one(after).encode_to_vec() {{
                        self.{field} = Default::default();
                    }} else {{
                        changed.push({name:?});
                    }}\n"
                )
            })
            .collect();
        format!(
            "impl Resource for crate::v1::{name} {{
            const TYPE: &'static str = \"{type}\";
            const SINGULAR: &'static str = \"{singular}\";
            const FIELDS: &'static [&'static str] = &[{fields}];
            const UPDATABLE: &'static [&'static str] = &[{updatable}];
            const FIXED: &'static [&'static str] = &[{fixed}];
            fn meta(&self) -> Meta<'_> {{
                let create_time = self.create_time.as_ref();
                Meta {{
                    name: &self.name, etag: &self.etag, revision: self.revision, create_time,
                    delete_time: {delete_time},
                }}
            }}
            fn meta_mut(&mut self) -> MetaMut<'_> {{
                MetaMut {{
                    name: &mut self.name, uid: &mut self.uid, etag: &mut self.etag, revision: &mut self.revision,
                    creator: &mut self.creator, create_time: &mut self.create_time,
                    update_time: &mut self.update_time, delete_time: {delete_time_mut}, purge_time: {purge_time_mut},
                }}
            }}
            fn take(&mut self, field: &str, from: &Self) {{
                match field {{ {take} _ => {{}} }}
            }}
            fn take_entry(&mut self, field: &str, key: &str, from: &Self) -> bool {{
                match field {{ {take_entry} _ => false }}
            }}
            fn has(&self, field: &str) -> bool {{
                let empty = Self::default();
                match field {{ {has} _ => false }}
            }}
            fn changes(mut self, after: &Self) -> (Self, Vec<&'static str>) {{
                let mut changed = Vec::new();
                {changes}
                (self, changed)
            }}
            fn into_resource(self) -> crate::v1::Resource {{
                crate::v1::Resource {{ resource: Some(crate::v1::resource::Resource::{told}(self)) }}
            }}
            fn from_resource(resource: crate::v1::Resource) -> Option<Self> {{
                match resource.resource {{
                    Some(crate::v1::resource::Resource::{told}(resource)) => Some(resource),
                    _ => None,
                }}
            }}
        }}\n",
            name = message.name(),
            r#type = self.text("type"),
            singular = self.text("singular"),
            fields = names(&|_| true),
            updatable = names(&|field| theirs(field) && !fixed(field)),
            fixed = names(&|field| theirs(field) && fixed(field)),
            take = arms(&|_| true, &|field| format!("self.{field}.clone_from(&from.{field}),")),
            take_entry = arms(&FieldDescriptor::is_map, &|field| format!(
                "{{
                match from.{field}.get(key) {{
                    Some(value) => drop(self.{field}.insert(key.to_owned(), value.clone())),
                    None => drop(self.{field}.remove(key)),
                }}
                true
            }}"
            )),
            has = arms(&theirs, &|field| format!("self.{field} != empty.{field},")),
        )
    }
}

fn option(pool: &DescriptorPool, options: DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

/// Collects the permissions that it takes to set the fields of a message that are set, or that its mask names; also those of the resource
/// and of the requests in it.
fn set_fields_in(pool: &DescriptorPool, message: &MessageDescriptor, at: &str, mask: bool) -> String {
    let mask = mask || message.get_field_by_name("update_mask").is_some();
    let mut code = String::new();
    for field in message.fields().filter(|field| field.containing_oneof().is_none()) {
        let (name, value) = (field.name(), format!("{at}.{}", identifier(field.name())));
        if let Some(Value::String(permission)) = option(pool, field.options(), FIELD_PERMISSION) {
            let set = match field.kind() {
                Kind::Bool if !field.is_list() => value.clone(),
                Kind::String if !field.supports_presence() => format!("!{value}.is_empty()"),
                kind => panic!("{} takes a permission: a {kind:?} is not looked at", field.full_name()),
            };
            let named = if mask { format!(" || names_field(&self.update_mask, {name:?})") } else { String::new() };
            code += &format!("if {set}{named} {{ permissions.push({permission:?}); }}\n");
        }
        code += &match message_in(&field).filter(|inner| inner.package_name() == PACKAGE) {
            Some(inner) if field.is_list() && inner.name().ends_with("Request") => {
                within(&format!("for one in &{value}"), &set_fields_in(pool, &inner, "one", false))
            }
            Some(inner) if option(pool, inner.options(), "google.api.resource").is_some() && !field.is_list() => {
                within(&format!("if let Some(one) = &{value}"), &set_fields_in(pool, &inner, "one", mask))
            }
            _ => String::new(),
        };
    }
    code
}

/// What is done under a condition; nothing if that is nothing.
fn within(condition: &str, code: &str) -> String {
    if code.is_empty() { String::new() } else { format!("{condition} {{ {code} }}\n") }
}

fn message_in(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !message.is_map_entry() => Some(message),
        _ => None,
    }
}

/// A field as Rust has it.
fn identifier(field: &str) -> String {
    if field == "type" { "r#type".to_owned() } else { field.to_owned() }
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}
