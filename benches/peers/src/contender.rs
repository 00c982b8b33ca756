//! A contender's process.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use jobstore_peers_harness::{About, Answer, Figure, Operation, Request};

use crate::lineup::{Entry, Program};

/// Where programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) binaries: PathBuf,
    pub(crate) scripts: PathBuf,
    pub(crate) python: PathBuf,
}

/// A running contender. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Contender {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Contender {
    /// Starts it with a new database at `place`.
    pub(crate) fn start(
        entry: &'static Entry,
        programs: &Programs,
        place: &str,
        operation: Operation,
    ) -> Result<Self> {
        let mut command = match entry.program {
            Program::Binary(binary) => Command::new(programs.binaries.join(binary)),
            Program::Python(script) => {
                let mut command = Command::new(&programs.python);
                command.arg(programs.scripts.join(script));
                command
            }
        };
        command.args(entry.arguments).arg(place);
        if operation.needs() == Operation::WorkDelete {
            command.arg("delete");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", entry.name))?;
        let input = child.stdin.take().context("it has an input")?;
        let output = BufReader::new(child.stdout.take().context("it has an output")?);
        Ok(Self {
            name: entry.name,
            child,
            input,
            output,
        })
    }

    pub(crate) fn about(&mut self) -> Result<About> {
        match self.ask(Request::About)? {
            Answer::About(about) => Ok(about),
            other => bail!("{} answered {other:?}", self.name),
        }
    }

    pub(crate) fn fill(&mut self, jobs: usize) -> Result<()> {
        match self.ask(Request::Fill(jobs))? {
            Answer::Done => Ok(()),
            other => bail!("{} answered {other:?}", self.name),
        }
    }

    pub(crate) fn measure(&mut self, operation: Operation) -> Result<Figure> {
        match self.ask(Request::Measure(operation))? {
            Answer::Figure(figure) => Ok(figure),
            other => bail!("{} answered {other:?}", self.name),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Answer> {
        let mut line = serde_json::to_string(&request)?;
        line.push('\n');
        self.input.write_all(line.as_bytes())?;
        self.input.flush()?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            bail!("{} ended: {}", self.name, self.child.wait()?);
        }
        match serde_json::from_str(&answer)? {
            Answer::Failed(reason) => bail!("{}: {reason}", self.name),
            answer => Ok(answer),
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Its database is thrown away too, so there is nothing to end in good order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the binaries and makes the Python environment, and says where they are.
pub(crate) fn prepare(folder: &Path, workspaces: &[&str]) -> Result<Programs> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(folder.join("target"), PathBuf::from);
    for workspace in workspaces {
        let manifest = folder.join(workspace).join("Cargo.toml");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--quiet",
                "--locked",
                "--manifest-path",
            ])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target)
            .status()?;
        if !status.success() {
            bail!("{} cannot be built", manifest.display());
        }
    }
    let environment = target.join("mlflow");
    let python = environment.join("bin/python");
    if !python.exists() {
        let requirements = folder.join("mlflow/requirements.txt");
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment)
            .status()?
            .success()
            && Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(&requirements)
                .status()?
                .success();
        if !made {
            bail!("{} cannot be installed", requirements.display());
        }
    }
    Ok(Programs {
        binaries: target.join("release"),
        scripts: folder.to_owned(),
        python,
    })
}
