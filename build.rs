//! Compiles `proto/` without a system `protoc`: protox parses, the same descriptors feed the code and reflection.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let services = [
        "quota",
        "organization",
        "team",
        "member",
        "key",
        "rule",
        "allocation",
        "credit_request",
        "price",
        "wallet",
        "ledger",
        "alert",
        "token",
    ];
    let files: Vec<_> = services.iter().map(|name| format!("proto/quotad/v1/{name}.proto")).collect();
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("quotad_descriptor.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // The codec finds a message's bounds by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .codec_path("crate::api::BoundedCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
