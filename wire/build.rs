//! Generates the Rust types of the five protocol files, without a `protoc` on the machine, and beside them what memory each of
//! them may take (`src/frugal.rs`).

use std::error::Error;
use std::fmt::Write;

const LABEL_REPEATED: i32 = 3;
const TYPE_FIXED64: i32 = 6;
const TYPE_STRING: i32 = 9;
const TYPE_MESSAGE: i32 = 11;
const TYPE_BYTES: i32 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["data", "raft", "admin", "memds", "control"].map(|name| format!("proto/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let mut shapes = String::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            writeln!(shapes, "impl Shaped for {} {{", rust_type(&format!(".{}.{}", file.package(), message.name())))?;
            writeln!(shapes, "    const SHAPE: &'static [Field] = &[")?;
            for field in &message.field {
                let of_message = field.r#type == Some(TYPE_MESSAGE);
                let held = match field.r#type {
                    Some(TYPE_MESSAGE) => rust_type(field.type_name()),
                    Some(TYPE_BYTES) => "bytes::Bytes".to_owned(),
                    Some(TYPE_STRING) => "String".to_owned(),
                    _ => "u64".to_owned(),
                };
                let inner = if of_message { format!("Some({held}::SHAPE)") } else { "None".to_owned() };
                let each = match field.label {
                    Some(LABEL_REPEATED) => format!("size_of::<{held}>()"),
                    // It stands in what holds it.
                    _ => "0".to_owned(),
                };
                let packed = match (field.label, field.r#type) {
                    (Some(LABEL_REPEATED), Some(TYPE_MESSAGE | TYPE_BYTES | TYPE_STRING | TYPE_FIXED64)) => false,
                    (label, _) => label == Some(LABEL_REPEATED),
                };
                writeln!(
                    shapes,
                    "        Field {{ number: {}, inner: {inner}, each: {each}, packed: {packed} }},",
                    field.number()
                )?;
            }
            writeln!(shapes, "    ];\n}}")?;
        }
    }
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(format!("{out}/shapes.rs"), shapes)?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::frugal::Frugal").compile_fds(descriptors)?;
    Ok(())
}

/// `.trivet.data.v1.Get` → `crate::data::Get`
fn rust_type(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    format!("crate::{}::{}", parts[2], parts[parts.len() - 1])
}
