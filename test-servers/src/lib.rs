//! Private, throw-away PostgreSQL and MariaDB servers for tests, which may kill them.
//!
//! ```no_run
//! use jobstore_test_servers::Server;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut server = Server::postgres().with("max_connections", "20").start()?;
//! let url = server.url(); // stays the same over kills and restarts
//! server.kill()?;
//! server.restart()?;
//! # Ok(())
//! # }
//! ```
//!
//! A server keeps its data in a temporary directory and listens on a port of 127.0.0.1. Both are gone
//! when [`Server`] is dropped, and also when this process is killed. Data are as durable as on a real
//! server. Functions block; an asynchronous test may call them all the same, each takes about a second.
#![forbid(unsafe_code)]

mod find;
mod mariadb;
mod pgbouncer;
mod port;
mod postgres;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

pub use crate::pgbouncer::PgBouncer;

use crate::find::User;
use crate::port::Port;
use crate::process::Process;

/// What a server may take to start, crash recovery included, or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::MariaDb];

    /// The environment variable that holds the URL of a server for tests that need not own one.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "JOBSTORE_TEST_POSTGRES",
            Self::MariaDb => "JOBSTORE_TEST_MYSQL",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    /// Debian's package of it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb-server",
        }
    }

    /// Whether its programs are on this machine.
    pub fn is_installed(self) -> bool {
        self.programs().is_ok()
    }

    /// The version of its program.
    ///
    /// # Errors
    ///
    /// When it is not on this machine.
    pub fn version(self) -> Result<String> {
        let (program, _) = self.programs()?;
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("{} cannot run", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let version = text.split_whitespace().find(number);
        let version = version.with_context(|| format!("{} has no version", program.display()))?;
        Ok(version.to_owned())
    }

    /// The server's program, and the one that makes its data directory.
    fn programs(self) -> Result<(PathBuf, PathBuf)> {
        match self {
            Self::Postgres => postgres::programs(),
            Self::MariaDb => mariadb::programs(),
        }
    }

    /// The URL of the server that all tests share.
    ///
    /// # Panics
    ///
    /// When the environment does not name one, so that a test cannot pass without its server.
    pub fn shared_url(self) -> String {
        std::env::var(self.variable()).unwrap_or_else(|_| {
            panic!(
                "{} is not set: `cargo xtask test` starts a server and sets it",
                self.variable()
            )
        })
    }
}

/// A server to be started.
#[derive(Debug)]
pub struct Setup {
    kind: Kind,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    certificate: Option<(String, String)>,
    parent: PathBuf,
    kept: Option<PathBuf>,
}

impl Setup {
    /// Sets what the server calls `name` in its configuration.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the server offer TLS with this certificate and its key, both PEM.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &str, key: &str) -> Self {
        self.certificate = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Keeps the server's directory in this one, for example on a file system of its own.
    #[must_use]
    pub fn within(self, parent: impl Into<PathBuf>) -> Self {
        Self {
            parent: parent.into(),
            ..self
        }
    }

    /// Keeps the server's data in this directory for the next server that is started there. Its parent
    /// must exist.
    #[must_use]
    pub fn kept_in(self, directory: impl Into<PathBuf>) -> Self {
        Self {
            kept: Some(directory.into()),
            ..self
        }
    }

    /// Starts the server, and returns once it takes connections.
    ///
    /// # Errors
    ///
    /// When its programs are missing, naming what to install; when it does not start, with the end of
    /// its log.
    pub fn start(self) -> Result<Server> {
        let (program, maker) = self.kind.programs()?;
        let user = User::of(self.kind)?;
        let directory = self.directory()?;
        if !directory.path().join("made").exists() {
            user.own(directory.path())?;
            match self.kind {
                Kind::Postgres => postgres::make(&maker, directory.path(), &user)?,
                Kind::MariaDb => mariadb::make(&maker, directory.path(), &user)?,
            }
            fs::write(directory.path().join("made"), "")?;
        }
        if let Some((certificate, key)) = &self.certificate {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = directory.path().join(name);
                user.write_secret(&path, text)?;
            }
        }
        let mut server = Server {
            process: None,
            program,
            user,
            port: Port::reserve()?,
            directory,
            setup: self,
        };
        server.restart()?;
        Ok(server)
    }

    /// A directory for the server, which may have its data already.
    fn directory(&self) -> Result<Directory> {
        let Some(kept) = &self.kept else {
            let directory = tempfile::Builder::new()
                .prefix("jobstore-server-")
                .tempdir_in(&self.parent)
                .context("no directory for a server can be made")?;
            return Ok(Directory::Temporary(directory));
        };
        if !kept.join("made").exists() {
            // What is there was left half made.
            let _ = fs::remove_dir_all(kept);
            fs::create_dir(kept).with_context(|| format!("{} cannot be made", kept.display()))?;
        }
        Ok(Directory::Kept(kept.clone()))
    }
}

/// Where a server keeps everything.
#[derive(Debug)]
enum Directory {
    /// Removed with the server.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }
}

/// A running server, or one that was killed or stopped and can be started again.
#[derive(Debug)]
pub struct Server {
    // Ended before the directory is removed.
    process: Option<Process>,
    program: PathBuf,
    user: User,
    port: Port,
    directory: Directory,
    setup: Setup,
}

impl Server {
    /// A PostgreSQL server. Its superuser `postgres` needs no password; every other role does.
    pub fn postgres() -> Setup {
        Self::of(Kind::Postgres)
    }

    /// A MariaDB server as it comes without configuration files. `root` needs no password.
    pub fn mariadb() -> Setup {
        Self::of(Kind::MariaDb)
    }

    /// A server of this kind.
    pub fn of(kind: Kind) -> Setup {
        Setup {
            kind,
            settings: Vec::new(),
            variables: Vec::new(),
            certificate: None,
            parent: std::env::temp_dir(),
            kept: None,
        }
    }

    /// The URL of its first database, as its administrator.
    pub fn url(&self) -> String {
        let port = self.port.number();
        match self.setup.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Kind::MariaDb => format!("mysql://root@127.0.0.1:{port}/test"),
        }
    }

    /// The port of 127.0.0.1 that it listens on, and nobody else while it is down.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where it keeps everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills every process of the server as a power cut would end them, and waits until they are gone.
    ///
    /// # Errors
    ///
    /// When a process outlives SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Stops the server in good order: connections are cut, nothing is left to recover.
    ///
    /// # Errors
    ///
    /// When it does not end in time; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop(PATIENCE),
            None => Ok(()),
        }
    }

    /// Starts the server again on its data and port, after stopping it when it still runs, and returns
    /// once it takes connections.
    ///
    /// # Errors
    ///
    /// When it does not start, with the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let (command, stop) = match self.setup.kind {
            Kind::Postgres => postgres::command(self),
            Kind::MariaDb => mariadb::command(self),
        };
        let mut process = Process::start(command, stop, self.directory())
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let start = Instant::now();
        loop {
            let ready = match self.setup.kind {
                Kind::Postgres => postgres::is_ready(self.directory(), process.id()),
                Kind::MariaDb => mariadb::is_ready(self.port()),
            };
            if process.has_ended()? {
                bail!(
                    "{} ended at once:\n{}",
                    self.program.display(),
                    self.end_of_log()
                );
            }
            if ready {
                break;
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{} does not start:\n{}",
                    self.program.display(),
                    self.end_of_log()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
        Ok(())
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The server's command, to which its settings are still to be given.
    fn command(&self) -> Result<Command> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory().join("log"))?;
        let mut command = self.user.command(&self.program, self.directory());
        let variables = self.setup.variables.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}
