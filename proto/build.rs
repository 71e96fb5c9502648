//! Compiles the proto files without protoc, into `OUT_DIR` only.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

const FILES: [&str; 3] = [
    "lograft/log/v1/log.proto",
    "lograft/admin/v1/admin.proto",
    "lograft/raft/v1/raft.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("lograft.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::LargeCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
