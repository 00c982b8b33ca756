//! The children: one works on a store until it is killed, one looks what is left.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::ledger::Dump;

/// What a store may take to be opened and do its first work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that works on a store and says what it is promised.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    errors: File,
    /// Hears of the first promise.
    promised: Receiver<()>,
    reader: JoinHandle<std::io::Result<Vec<String>>>,
}

impl Worker {
    pub(crate) fn start(url: &str, relaxed: bool) -> Result<Self> {
        let relaxed: &[&str] = if relaxed { &["--relaxed"] } else { &[] };
        // It says why its calls fail when its server is killed, which nobody needs to hear.
        let errors = tempfile::tempfile().context("no file for what a child says")?;
        let mut command = itself(&[&["load", url], relaxed].concat())?;
        let mut child = command.stderr(errors.try_clone()?).spawn()?;
        let pipe = child.stdout.take().context("the child has no pipe")?;
        let (promise, promised) = channel();
        let reader = std::thread::spawn(move || read(pipe, &promise));
        Ok(Self {
            child,
            errors,
            promised,
            reader,
        })
    }

    /// Waits until the store is open and has acknowledged something.
    pub(crate) fn wait_for_a_promise(&mut self) -> Result<()> {
        match self.promised.recv_timeout(PATIENCE) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("the store acknowledges nothing in a minute"),
            Err(RecvTimeoutError::Disconnected) => {
                self.child.wait()?;
                self.still_works()
            }
        }
    }

    /// Fails with the child's words when it has ended by itself.
    pub(crate) fn still_works(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let mut errors = String::new();
        self.errors.rewind()?;
        self.errors.read_to_string(&mut errors)?;
        bail!("the child ended by itself, {status}: {}", errors.trim_end())
    }

    /// Kills it; returns what it said.
    pub(crate) fn kill(mut self) -> Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        let lines = self.reader.join();
        Ok(lines.map_err(|_| anyhow!("the reader panicked"))??)
    }
}

fn read(pipe: ChildStdout, promise: &Sender<()>) -> std::io::Result<Vec<String>> {
    let mut reader = BufReader::new(pipe);
    let mut lines = Vec::new();
    let mut promised = false;
    loop {
        let mut line = String::new();
        // The last line may be cut; what is not a whole line was not said.
        if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(lines);
        }
        if !promised && line.starts_with(char::is_uppercase) {
            promised = true;
            // Nobody may be waiting for it.
            let _ = promise.send(());
        }
        lines.push(line.trim_end().to_owned());
    }
}

/// What the store holds, read by a child, so that everything is closed when it has ended.
pub(crate) fn dump(url: &str) -> Result<Dump> {
    let output = itself(&["dump", url])?.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    Dump::parse(&text, output.status.success())
}

fn itself(args: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("could not find this program")?;
    let mut child = Command::new(program);
    child.args(args).stdout(Stdio::piped());
    child.stdin(Stdio::null());
    Ok(child)
}
