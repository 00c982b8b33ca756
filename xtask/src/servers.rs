//! The servers that tests need.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use jobstore_test_servers::{Kind, PgBouncer, Server};

/// Servers that run for as long as this value is there, and never longer than this process.
pub(crate) struct Servers(Vec<(Kind, Server)>);

impl Servers {
    /// How tests find them.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let variable = |(kind, server): &(Kind, Server)| (kind.variable(), server.url());
        self.0.iter().map(variable)
    }
}

/// Starts a server of each kind that the environment names none of.
pub(crate) fn start() -> Result<Servers> {
    start_in(&std::env::temp_dir())
}

/// The same, with their data in this folder.
pub(crate) fn start_in(folder: &Path) -> Result<Servers> {
    install_missing()?;
    let unnamed = |kind: &Kind| std::env::var_os(kind.variable()).is_none();
    let started = Kind::ALL.into_iter().filter(unnamed).map(|kind| {
        let server = Server::of(kind).within(folder).start();
        Ok((
            kind,
            server.with_context(|| format!("no server for {}", kind.variable()))?,
        ))
    });
    started.collect::<Result<_>>().map(Servers)
}

/// Installs what tests need beside the tests.
pub(crate) fn install_missing() -> Result<()> {
    let missing = Kind::ALL.into_iter().filter(|kind| !kind.is_installed());
    let mut packages: Vec<_> = missing.map(Kind::package).collect();
    if !PgBouncer::is_installed() {
        packages.push(PgBouncer::PACKAGE);
    }
    // Shows a server another time than the machine's.
    if !Path::new("/usr/bin/faketime").exists() {
        packages.push("faketime");
    }
    install(&packages)
}

/// Sees to what a cluster needs beside MariaDB: Galera itself, and what nodes copy each other with.
pub(crate) fn install_galera() -> Result<()> {
    let needed = [
        ("/usr/sbin/mariadbd", Kind::MariaDb.package()),
        ("/usr/lib/galera/libgalera_smm.so", "galera-4"),
        ("/usr/bin/rsync", "rsync"),
    ];
    let missing = needed
        .into_iter()
        .filter(|(file, _)| !Path::new(file).exists());
    install(&missing.map(|(_, package)| package).collect::<Vec<_>>())
}

/// Installs Debian's packages where this may be done. Where it may not, the tests say what is missing.
/// Tests that kill servers need the programs whatever the environment names.
fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command
    };
    if apt(&["--version"]).output().is_err() {
        return Ok(());
    }
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    crate::run(&mut apt(&install)).or_else(|_| {
        // A machine that is new has no lists of packages yet.
        crate::run(&mut apt(&["update"]))?;
        crate::run(&mut apt(&install))
    })
}
