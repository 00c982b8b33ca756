//! PgBouncer in front of a PostgreSQL server.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::find::{self, User};
use crate::port::Port;
use crate::process::Process;
use crate::{Kind, PATIENCE, Server};

/// A PgBouncer that gives each transaction any connection of its own to the server.
#[derive(Debug)]
pub struct PgBouncer {
    // Ended before the directory is removed.
    _process: Process,
    port: Port,
    _directory: TempDir,
}

impl PgBouncer {
    /// Debian's package of it.
    pub const PACKAGE: &'static str = "pgbouncer";

    /// Whether it is on this machine.
    pub fn is_installed() -> bool {
        program().is_some()
    }

    /// Starts one in transaction mode, with so many connections to the server.
    ///
    /// # Errors
    ///
    /// When its program is missing, naming what to install; when it does not start.
    pub fn in_front_of(server: &Server, connections: u16) -> Result<Self> {
        let program = program().context(
            "the program `pgbouncer` is not on PATH nor where Debian puts it; install it, on Debian \
             by `apt-get install pgbouncer`",
        )?;
        let user = User::of(Kind::Postgres)?;
        let port = Port::reserve()?;
        let directory = tempfile::Builder::new()
            .prefix("jobstore-pgbouncer-")
            .tempdir()?;
        let users = directory.path().join("users");
        user.write_secret(&users, "\"postgres\" \"\"\n")?;
        let settings = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = {connections}\n",
            server.port(),
            port.number(),
            users.display(),
        );
        user.write_secret(&settings, &text)?;
        user.own(directory.path())?;
        let log = directory.path().join("log");
        let file = fs::File::create(&log)?;
        let mut command = user.command(&program, directory.path());
        command
            .arg(&settings)
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut process = Process::start(Ok(command), Signal::INT, directory.path())?;
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).is_err() {
            if process.has_ended()? || start.elapsed() > PATIENCE {
                bail!(
                    "{} does not start:\n{}",
                    program.display(),
                    fs::read_to_string(&log)?
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(Self {
            _process: process,
            port,
            _directory: directory,
        })
    }

    /// The URL of the server's first database, through PgBouncer.
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres",
            self.port.number()
        )
    }
}

fn program() -> Option<PathBuf> {
    find::program("pgbouncer", ["/usr/sbin".into()])
}
