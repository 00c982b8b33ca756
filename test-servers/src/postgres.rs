//! How PostgreSQL is made, started and asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::find::{self, User};
use crate::{Kind, Server};

pub(crate) fn programs() -> Result<(PathBuf, PathBuf)> {
    let server = find::program("postgres", debian())
        .ok_or_else(|| find::missing(Kind::Postgres, "postgres"))?;
    let maker = server.with_file_name("initdb");
    match maker.is_file() {
        true => Ok((server, maker)),
        false => Err(find::missing(Kind::Postgres, "initdb")),
    }
}

/// Debian's folders of each version, the newest first.
fn debian() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<u32> = versions
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let folder = |version| format!("/usr/lib/postgresql/{version}/bin").into();
    versions.into_iter().map(folder).collect()
}

pub(crate) fn make(maker: &Path, directory: &Path, user: &User) -> Result<()> {
    let mut command = user.command(maker, directory);
    command
        .args(["--no-sync", "--username=postgres", "--encoding=UTF8"])
        .args(["--locale=C.UTF-8", "--auth=trust", "-D"])
        .arg(directory.join("data"));
    find::run(command)?;
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(directory.join("data/pg_hba.conf"), rules).context("pg_hba.conf cannot be written")
}

/// The command, and the signal that ends it in good order without waiting for its clients.
pub(crate) fn command(server: &Server) -> (Result<Command>, Signal) {
    let with_arguments = |mut command: Command| {
        command.arg("-D").arg(server.directory().join("data"));
        let mut set = |name: &str, value: &str| {
            command.args(["-c", &format!("{name}={value}")]);
        };
        set("port", &server.port().to_string());
        set("listen_addresses", "127.0.0.1");
        set("unix_socket_directories", "");
        set("max_connections", "300");
        if server.setup.certificate.is_some() {
            for (name, file) in [
                ("ssl_cert_file", "server.crt"),
                ("ssl_key_file", "server.key"),
            ] {
                set(name, &server.directory().join(file).display().to_string());
            }
            set("ssl", "on");
        }
        for (name, value) in &server.setup.settings {
            set(name, value);
        }
        command
    };
    (server.command().map(with_arguments), Signal::INT)
}

/// As `pg_ctl` sees it: what the postmaster of this id wrote into its file.
pub(crate) fn is_ready(directory: &Path, id: u32) -> bool {
    let text = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&id.to_string()) && lines.nth(6) == Some("ready")
}
