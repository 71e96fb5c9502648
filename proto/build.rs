//! Compiles the proto files without protoc, into `OUT_DIR` only.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions};

const FILES: [&str; 5] = [
    "lograft/log/v1/log.proto",
    "lograft/log/v1/groups.proto",
    "lograft/admin/v1/admin.proto",
    "lograft/admin/v1/access.proto",
    "lograft/raft/v1/raft.proto",
];

/// The package that only nodes call.
const NODES_PACKAGE: &str = "lograft.raft.v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("lograft.binpb"), descriptors.encode_to_vec())?;
    let mut for_clients = descriptors.clone();
    for_clients
        .file
        .retain(|file| file.package() != NODES_PACKAGE);
    fs::write(
        out_dir.join("lograft.client.binpb"),
        for_clients.encode_to_vec(),
    )?;
    fs::write(out_dir.join("lograft.calls.rs"), calls(&descriptors)?)?;
    fs::write(out_dir.join("lograft.methods.rs"), methods(&descriptors)?)?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::LargeCodec")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Messages by their full name.
type Messages<'a> = BTreeMap<String, &'a DescriptorProto>;

/// The code that implements `CallMessage` for the requests and replies of all calls.
fn calls(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut messages = Messages::new();
    let (mut requests, mut replies) = (BTreeSet::new(), BTreeSet::new());
    for file in &descriptors.file {
        for message in &file.message_type {
            let name = format!(".{}.{}", file.package(), message.name());
            for nested in &message.nested_type {
                messages.insert(format!("{name}.{}", nested.name()), nested);
            }
            messages.insert(name, message);
        }
        let methods = file.service.iter().flat_map(|service| &service.method);
        for method in methods {
            requests.insert(method.input_type().to_owned());
            replies.insert(method.output_type().to_owned());
        }
    }
    let mut code = String::new();
    let mut shapes = Vec::new();
    for name in &requests {
        let shape = shape(&messages, name)?;
        write!(
            code,
            "impl crate::decode_cost::CallMessage for {} {{
                const REQUEST: Option<&'static crate::decode_cost::Shape> = Some({shape});
            }}\n",
            rust_path(name)
        )?;
        shapes.push(shape);
    }
    let decoders = requests.iter().map(|name| {
        let path = rust_path(name);
        format!("|bytes| <{path} as prost::Message>::decode(bytes).is_ok()")
    });
    write!(
        code,
        "#[cfg(test)]
        pub(crate) const REQUEST_DECODERS: &[fn(&[u8]) -> bool] = &[{}];\n",
        decoders.collect::<Vec<_>>().join(", ")
    )?;
    for name in replies.difference(&requests) {
        write!(
            code,
            "impl crate::decode_cost::CallMessage for {} {{
                const REQUEST: Option<&'static crate::decode_cost::Shape> = None;
            }}\n",
            rust_path(name)
        )?;
    }
    write!(
        code,
        "#[cfg(test)]
        pub(crate) const REQUEST_SHAPES: &[&crate::decode_cost::Shape] = &[{}];\n",
        shapes.join(", ")
    )?;
    Ok(code)
}

/// The code of the enum of all methods: `AdminCreateTopic` for the method `CreateTopic` of
/// `AdminService`.
fn methods(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let (mut variants, mut all, mut paths) = (String::new(), String::new(), String::new());
    for file in &descriptors.file {
        for service in &file.service {
            let prefix = service.name().trim_end_matches("Service");
            for method in &service.method {
                let name = format!("{prefix}{}", method.name());
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                writeln!(variants, "/// `{path}`\n{name},")?;
                write!(all, "Self::{name}, ")?;
                writeln!(paths, "Self::{name} => {path:?},")?;
            }
        }
    }
    Ok(format!(
        "/// A method of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {{ {variants} }}
        impl Method {{
            /// All methods of all services.
            pub const ALL: &[Self] = &[{all}];

            /// The path of the method's calls.
            #[must_use]
            pub const fn path(self) -> &'static str {{ match self {{ {paths} }} }}
        }}\n"
    ))
}

/// The type that prost generates for a message of a file.
fn rust_path(name: &str) -> String {
    let parts: Vec<&str> = name.trim_start_matches(".lograft.").split('.').collect();
    format!("crate::{}", parts.join("::"))
}

/// The shape of a message, as an expression.
fn shape(messages: &Messages<'_>, name: &str) -> Result<String, Box<dyn Error>> {
    let message = messages.get(name).ok_or_else(|| format!("no {name}"))?;
    let mut fields = String::new();
    for field in &message.field {
        let (each_bytes, per_byte_bytes) = cost(messages, field)?;
        let nested = match field.r#type() {
            Type::Message => shape(messages, field.type_name())?,
            _ => String::new(),
        };
        let is_free = each_bytes == "0" && (nested.is_empty() || nested.ends_with("&[] }"));
        if is_free {
            continue;
        }
        let nested = match nested.as_str() {
            "" => "None".to_owned(),
            nested => format!("Some({nested})"),
        };
        write!(
            fields,
            "crate::decode_cost::Field {{ number: {}, each_bytes: {each_bytes}, \
             per_byte_bytes: {per_byte_bytes}, shape: {nested} }}, ",
            field.number()
        )?;
    }
    Ok(format!(
        "&crate::decode_cost::Shape {{ fields: &[{fields}] }}"
    ))
}

/// Memory of each occurrence of a field and of each byte of it, as expressions. A field that is not
/// repeated is a part of its message.
fn cost(
    messages: &Messages<'_>,
    field: &FieldDescriptorProto,
) -> Result<(String, &'static str), Box<dyn Error>> {
    // An allocation takes 16 bytes besides its content.
    const TEXT: &str = "size_of::<String>() + 16";
    // An entry of a hash map: two texts, and the space for those to come.
    const MAP_ENTRY: &str = "2 * (size_of::<(String, String)>() + 32)";
    if field.label() != Label::Repeated {
        return Ok(("0".to_owned(), "0"));
    }
    Ok(match field.r#type() {
        Type::Message => {
            let name = field.type_name();
            let message = messages.get(name).ok_or_else(|| format!("no {name}"))?;
            if message
                .options
                .as_ref()
                .is_some_and(MessageOptions::map_entry)
            {
                (MAP_ENTRY.to_owned(), "1")
            } else {
                (format!("size_of::<{}>()", rust_path(name)), "0")
            }
        }
        Type::String => (TEXT.to_owned(), "1"),
        Type::Bytes => ("size_of::<prost::bytes::Bytes>()".to_owned(), "0"),
        Type::Group => return Err("groups are not measured".into()),
        Type::Bool => ("1".to_owned(), "1"),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => ("4".to_owned(), "1"),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => ("8".to_owned(), "1"),
        Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Enum => ("4".to_owned(), "4"),
        Type::Int64 | Type::Uint64 | Type::Sint64 => ("8".to_owned(), "8"),
    })
}
