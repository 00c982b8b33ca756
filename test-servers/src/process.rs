//! A server's processes.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Ends the server and removes its directory once this process is gone, however it ended: its end of
/// the pipe is closed then, and nothing was written into it. The directory stands in the server's
/// command line, so that no other process that was given its id is hit.
const WATCHDOG: &str = r#"
    read -r word && exit
    if tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$2"; then
        kill -QUIT "$1"
        for wait in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" && sleep 0.1; done
        kill -KILL "$1"
    fi
    rm -rf "$2"
"#;

#[derive(Debug)]
pub(crate) struct Process {
    server: Child,
    watchdog: Child,
    stop: Signal,
    ended: bool,
}

impl Process {
    /// Starts a server that `stop` stops in good order.
    pub(crate) fn start(command: Result<Command>, stop: Signal, directory: &Path) -> Result<Self> {
        let mut server = command?
            // The terminal's Ctrl-C goes to tests, which then stop it.
            .process_group(0)
            .spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", &server.id().to_string()])
            .arg(directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self {
                server,
                watchdog,
                stop,
                ended: false,
            }),
            Err(error) => {
                server.kill()?;
                server.wait()?;
                Err(error).context("no `sh` can be started")
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.server.try_wait()?.is_some())
    }

    pub(crate) fn stop(mut self, patience: Duration) -> Result<()> {
        let start = Instant::now();
        let pid = pid(self.server.id())?;
        if !self.has_ended()? {
            kill_process(pid, self.stop)?;
        }
        while !self.has_ended()? {
            ensure!(start.elapsed() < patience, "the server does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end()
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// Kills what is left of the server and its children, and dismisses the watchdog.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        let mut gone = HashSet::new();
        if !self.has_ended()? {
            let pid = pid(self.server.id())?;
            // Stopped, it neither starts children nor gives back the ids of those that end.
            kill_process(pid, Signal::STOP)?;
            for child in children(self.server.id()) {
                gone.insert(child);
                // One that ended by itself is as good.
                let _ = kill_process(self::pid(child)?, Signal::KILL);
            }
            self.server.kill()?;
        }
        // Before the id is given back by waiting.
        if let Some(mut stdin) = self.watchdog.stdin.take() {
            let _ = stdin.write_all(b"ended\n");
        }
        self.watchdog.wait()?;
        self.server.wait()?;
        let start = Instant::now();
        while gone.iter().any(|child| is_running(*child)) {
            if start.elapsed() > Duration::from_secs(30) {
                bail!("a process of the server outlives SIGKILL");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.end();
        }
    }
}

fn pid(id: u32) -> Result<Pid> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.context("a process id is out of range")
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| state(*id).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// Whether the process is there and more than an entry that nobody has asked for.
fn is_running(id: u32) -> bool {
    state(id).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// The state and the parent of a process.
fn state(id: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // After the name, which stands in parentheses and may contain some.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
