//! Power cuts, by the program `jobstore-power-cut`.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cargo, run};

/// The stores that live in files.
const STORES: [&str; 3] = ["sled", "redb", "sqlite"];

fn program() -> Command {
    cargo("run --quiet --package jobstore-power-cut --")
}

/// Cuts the power under one store or all.
pub(crate) fn run_all(store: Option<&str>, cycles: u32) -> Result<()> {
    for name in STORES
        .into_iter()
        .filter(|name| store.is_none_or(|store| store == *name))
    {
        let cycles = cycles.to_string();
        run(program().args(["run", "--store", name, "--cycles", &cycles]))?;
    }
    // A store that is not among them gets the program's own answer.
    match store.filter(|store| !STORES.contains(store)) {
        Some(store) => run(program().args(["run", "--store", store])),
        None => Ok(()),
    }
}

/// A few cuts for each store, where the power can be cut; elsewhere one line says that it was not.
pub(crate) fn run_some() -> Result<()> {
    let probe = program().arg("probe").output();
    let probe = probe.context("could not start the power cuts")?;
    if !probe.status.success() {
        let why = String::from_utf8_lossy(&probe.stderr);
        eprintln!("# NOT RUN: power cuts ({})", why.trim());
        return Ok(());
    }
    run_all(None, 4)
}
