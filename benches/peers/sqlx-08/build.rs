//! Finds the migrations that fang and sqlxmq leave to be copied from their packages.

use std::env;

use cargo_metadata::MetadataCommand;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let metadata = MetadataCommand::new()
        .manifest_path(env::var("CARGO_MANIFEST_DIR")? + "/Cargo.toml")
        .other_options([
            "--locked".to_owned(),
            "--offline".to_owned(),
            // What is needed for others only may not have been downloaded.
            "--filter-platform".to_owned(),
            env::var("TARGET")?,
        ])
        .exec()?;
    for (name, variable) in [("fang", "FANG"), ("sqlxmq", "SQLXMQ")] {
        let package = metadata.packages.iter().find(|one| one.name == name);
        let manifest = &package.ok_or("a dependency is missing")?.manifest_path;
        let folder = manifest.parent().ok_or("a manifest is in a folder")?;
        println!("cargo::rustc-env={variable}={folder}");
    }
    Ok(())
}
