//! Runs the real binary in a directory of its own.
#![allow(dead_code, reason = "each test file uses another part")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a store of its own.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    url: Option<String>,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            url: None,
        }
    }

    /// A directory whose commands use the store at this URL.
    pub(crate) fn at(url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            ..Self::new()
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobstore"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("JOBSTORE_URL")
            .envs(self.url.iter().map(|url| ("JOBSTORE_URL", url)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("jobstore starts")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        done(self.spawn(args))
    }

    /// Runs a command that must succeed, and gives its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        done.stdout
    }

    /// Runs a command that must be refused with one line, and gives the line.
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(code), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{args:?}: {}", done.stderr);
        done.stderr
    }

    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Done {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn();
        let child = child.as_mut().expect("jobstore starts");
        let mut stdin = child.stdin.take().expect("is piped");
        let input = input.to_vec();
        // Beside reading the output, so that neither waits for the other; refused input may not be
        // read to its end.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let mut stdout = String::new();
        let mut stderr = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().expect("is piped"), &mut stdout)
            .expect("UTF-8");
        std::io::Read::read_to_string(child.stderr.as_mut().expect("is piped"), &mut stderr)
            .expect("UTF-8");
        feed.join().expect("feeds");
        let code = child.wait().expect("ends").code();
        Done {
            code,
            stdout,
            stderr,
        }
    }

    /// Runs a command with `--json` that must succeed, and gives the objects it wrote.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        objects(&self.ok(&[&["--json"], args].concat()))
    }

    /// Submits a job and gives its id.
    pub(crate) fn submit(&self, args: &[&str]) -> String {
        let jobs = self.json(&[&["submit"], args].concat());
        text(&jobs[0]["id"])
    }

    pub(crate) fn get(&self, id: &str) -> Value {
        self.json(&["get", id]).remove(0)
    }

    /// How many jobs are in this status.
    pub(crate) fn count(&self, status: &str) -> u64 {
        self.json(&["count"])[0][status].as_u64().expect("a number")
    }

    /// Waits until `ready`, and fails when that takes too long.
    pub(crate) fn wait_until(&self, what: &str, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "waited for {what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits for the end of a command.
pub(crate) fn done(child: Child) -> Done {
    let output = child.wait_with_output().expect("ends");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn objects(lines: &str) -> Vec<Value> {
    let object = |line| serde_json::from_str(line).expect("a JSON object");
    lines.lines().map(object).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}
