//! Makes the report of what was measured: `index.md` and its plots, from the JSON files in a folder.
//!
//! `cargo run --release --package jobstore-benches --bin report -- FOLDER`
#![forbid(unsafe_code)]

mod peers;
mod plot;
mod table;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use jobstore_benches::Engine;
use jobstore_benches::results::Results;

use crate::peers::Peers;

/// Makes the report of what was measured.
#[derive(Debug, Parser)]
struct Options {
    /// The folder that has the JSON files
    folder: PathBuf,
}

fn main() -> Result<()> {
    let folder = Options::parse().folder;
    let mut all: Vec<Results> = Vec::new();
    for engine in Engine::ALL {
        all.extend(read(&folder.join(format!("{}.json", engine.name())))?);
    }
    let peers: Option<Peers> = read(&folder.join("peers.json"))?;
    let mut plots = Vec::new();
    for results in &all {
        let path = |kind: &str| folder.join(plot::file(kind, results));
        if plot::batches(results, &path("batches"))? {
            plots.push(plot::file("batches", results));
        }
        if plot::rows(results, &path("rows"))? {
            plots.push(plot::file("rows", results));
        }
        if plot::beside(results, peers.as_ref(), &path("beside"))? {
            plots.push(plot::file("beside", results));
        }
    }
    let index = table::index(&all, peers.as_ref(), &plots);
    fs::write(folder.join("index.md"), index).context("the report cannot be written")
}

/// What a file holds; nothing when there is none.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path)?;
    let value = serde_json::from_str(&text);
    value.map(Some).with_context(|| path.display().to_string())
}
