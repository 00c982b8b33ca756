//! Where the servers' programs are, and who may run them.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};

use crate::Kind;

/// The program of this name on `PATH` or in one of these folders.
pub(crate) fn program(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())?;
    // Through symbolic links, so that what belongs to the same version is found beside it.
    found.canonicalize().ok()
}

/// That a server is not there, and what to do about it.
pub(crate) fn missing(kind: Kind, program: &str) -> anyhow::Error {
    anyhow!(
        "the program `{program}` is not on PATH nor where Debian puts it; install it, on Debian by \
         `apt-get install {}`",
        kind.package()
    )
}

/// Who runs a server.
#[derive(Debug)]
pub(crate) struct User {
    /// Another one than who runs this process.
    other: Option<(u32, u32)>,
}

impl User {
    /// The user of Debian's package when this is root, since PostgreSQL refuses to run as root.
    pub(crate) fn of(kind: Kind) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let users = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
        let name = match kind {
            Kind::Postgres => "postgres",
            Kind::MariaDb => "mysql",
        };
        let other = [name, "nobody"]
            .iter()
            .find_map(|name| {
                let line = users
                    .lines()
                    .find(|line| line.split(':').next() == Some(name))?;
                let mut numbers = line.split(':').skip(2).map(str::parse);
                Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
            })
            .with_context(|| format!("root may not run {name}, and there is no user for it"))?;
        Ok(Self { other: Some(other) })
    }

    /// Gives a file or directory to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.other else {
            return Ok(());
        };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("{} cannot be given away", path.display()))
    }

    /// Writes a file that only this user can read, which servers demand of private keys.
    pub(crate) fn write_secret(&self, path: &Path, text: &str) -> Result<()> {
        let mut options = fs::File::options();
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        self.own(path)
    }

    /// A command that will run as this user in that directory.
    pub(crate) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).stdin(Stdio::null());
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Runs a command to its end, and gives what it wrote when it fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (&output.stdout, &output.stderr);
    Err(anyhow!(
        "{name} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    ))
}
