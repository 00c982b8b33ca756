//! How MariaDB is made, started and asked.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::find::{self, User};
use crate::{Kind, Server};

pub(crate) fn programs() -> Result<(PathBuf, PathBuf)> {
    let debian = || ["/usr/sbin".into(), "/usr/bin".into()];
    let find =
        |name| find::program(name, debian()).ok_or_else(|| find::missing(Kind::MariaDb, name));
    Ok((find("mariadbd")?, find("mariadb-install-db")?))
}

pub(crate) fn make(maker: &Path, directory: &Path, user: &User) -> Result<()> {
    // Its own, because a server that starts deletes what looks left over by another.
    let temporary = directory.join("tmp");
    std::fs::create_dir(&temporary)?;
    user.own(&temporary)?;
    let mut command = user.command(maker, directory);
    command
        .env("TMPDIR", &temporary)
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .args(["--skip-name-resolve", "--innodb-log-file-size=16M"])
        .arg(with("--datadir=", &directory.join("data")))
        .arg(with("--tmpdir=", &temporary));
    find::run(command)
}

pub(crate) fn command(server: &Server) -> (Result<Command>, Signal) {
    let with_arguments = |mut command: Command| {
        let directory = server.directory();
        // First, as the server wants it.
        command.arg("--no-defaults");
        command.arg(with("--datadir=", &directory.join("data")));
        command.arg(with("--tmpdir=", &directory.join("tmp")));
        command.arg(with("--socket=", &directory.join("socket")));
        command.arg(with("--pid-file=", &directory.join("pid")));
        command.arg(format!("--port={}", server.port()));
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.args(["--innodb-log-file-size=16M", "--max-connections=300"]);
        if server.setup.certificate.is_some() {
            command.arg(with("--ssl-cert=", &directory.join("server.crt")));
            command.arg(with("--ssl-key=", &directory.join("server.key")));
        }
        for (name, value) in &server.setup.settings {
            command.arg(format!("--{name}={value}"));
        }
        command
    };
    (server.command().map(with_arguments), Signal::TERM)
}

/// Once it greets who connects.
pub(crate) fn is_ready(port: u16) -> bool {
    let greeted = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.read_exact(&mut [0; 5])
    };
    greeted().is_ok()
}

fn with(option: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(option);
    text.push(path);
    text
}
