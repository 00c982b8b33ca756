//! What is made of the suite's rules: the specification and the certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cargo, root, run, servers};

/// Tells the tests of backends where to add what they found.
pub(crate) const VARIABLE: &str = "JOBSTORE_CONFORMANCE_RECORDS";

/// An empty folder for what tests find.
pub(crate) fn records() -> Result<PathBuf> {
    let folder = root().join("target/conformance-records");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("the records of before cannot be removed")?;
    }
    fs::create_dir_all(&folder).context("no folder for records")?;
    Ok(folder.canonicalize()?)
}

/// Writes the pages that are made of the rules.
pub(crate) fn write() -> Result<()> {
    run(&mut documents())
}

/// Fails unless the pages are as the rules say.
pub(crate) fn compare() -> Result<()> {
    run(documents().arg("--check"))
}

/// Fails unless the certificates say what tests have found.
pub(crate) fn compare_certificates(records: &Path) -> Result<()> {
    run(documents().args(["--check", "--records"]).arg(records))
}

/// Runs the tests that certificates are made of, and writes those.
pub(crate) fn certify() -> Result<()> {
    let servers = servers::start()?;
    let records = records()?;
    for tests in [
        "test -p jobstore-memory -p jobstore-sled -p jobstore-redb --test conformance",
        "test -p jobstore-sql --all-features --test conformance --test conformance_postgres \
         --test conformance_mysql",
    ] {
        // Without random programs and histories, which no certificate tells of.
        let mut tests = cargo(tests);
        tests.args(["--", "conformance::"]).env(VARIABLE, &records);
        run(tests.envs(servers.variables()))?;
    }
    drop(servers);
    let mut documents = documents();
    documents.args(["--date", &today()?, "--records"]);
    run(documents.arg(&records))
}

pub(crate) fn today() -> Result<String> {
    let today = Command::new("date").args(["-u", "+%F"]).output();
    let today = String::from_utf8(today.context("no date")?.stdout)?;
    Ok(today.trim().to_owned())
}

fn documents() -> Command {
    cargo("run --quiet --package jobstore-conformance --example documents --")
}
