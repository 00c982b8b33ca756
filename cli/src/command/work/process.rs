//! One run of a command, in a process group of its own.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jobstore::Job;
use jobstore::validate::MAX_PAYLOAD_BYTES;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;

/// The exit code that asks for another try: `EX_TEMPFAIL` of sysexits.h.
const RETRY: i32 = 75;
/// How much of the end of standard error goes into a failed job.
const ERROR_BYTES: usize = 16 * 1024;
/// How long pipes may stay open after the command has ended and its group was killed, when a
/// process that left the group holds them.
const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait for a killed command to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// How a command ended by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// With code 0, and this output.
    Succeeded(String),
    /// With code 75.
    Retry(String),
    /// In any other way, or with an output that is no result.
    Failed(String),
}

/// A command that was started. Its process group is killed on drop.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    pipes: Option<(ChildStdin, ChildStdout, ChildStderr)>,
}

impl Process {
    /// Starts the command for a job.
    pub(super) fn spawn(command: &[OsString], job: &Job) -> io::Result<Self> {
        let Some((program, args)) = command.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut child = Command::new(program)
            .args(args)
            .env("JOBSTORE_JOB_ID", job.id.to_string())
            // A row that another program wrote may hold a NUL, which an environment cannot.
            .env("JOBSTORE_JOB_NAME", job.job_name.replace('\0', "\u{FFFD}"))
            .env("JOBSTORE_JOB_ATTEMPT", job.fence.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: Ctrl-C reaches the worker only, and a kill reaches every descendant.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let pipes = pipes.zip(child.stderr.take());
        Ok(Self {
            group: child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)),
            pipes: pipes.map(|((stdin, stdout), stderr)| (stdin, stdout, stderr)),
            child,
        })
    }

    /// Feeds the command and waits for its end. If dropped, the command goes on.
    pub(super) async fn run(&mut self, input: &str) -> Exit {
        let Some((stdin, stdout, stderr)) = self.pipes.take() else {
            return Exit::Failed("the command has no pipes".to_owned());
        };
        let mut output = Vec::new();
        let mut tail = Vec::new();
        let too_long = Notify::new();
        let status = {
            // All at once, or a command that writes before it reads would wait for us for ever.
            let talk = async {
                tokio::join!(
                    feed(stdin, input.as_bytes()),
                    take_output(stdout, &mut output, &too_long),
                    take_tail(stderr, &mut tail),
                );
            };
            let mut talk = std::pin::pin!(talk);
            let mut talking = true;
            let status = loop {
                tokio::select! {
                    status = self.child.wait() => break status,
                    () = &mut talk, if talking => talking = false,
                    () = too_long.notified() => self.kill(),
                }
            };
            // The run is over. What the command left behind in its group would hold the pipes open
            // and outlive the job. The id cannot mean another group yet: it was free only just now.
            self.kill();
            self.group = None;
            if talking {
                let _ = tokio::time::timeout(DRAIN, talk).await;
            }
            status
        };
        match status {
            Ok(status) => exit(status, output, &tail),
            Err(error) => Exit::Failed(format!("the command cannot be waited for: {error}")),
        }
    }

    /// Kills the group, unless the run is over, and waits until the command is gone.
    pub(super) async fn end(&mut self) {
        if self.group.is_some() {
            self.kill();
            let _ = tokio::time::timeout(DEATH, self.child.wait()).await;
            self.group = None;
        }
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            // Fails when every process of the group is gone, which is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command need not read its input, so a pipe closed early is no error.
async fn feed(mut stdin: ChildStdin, input: &[u8]) {
    let _ = stdin.write_all(input).await;
}

/// Reads until the end or until it is more than a result may be, and says so.
async fn take_output(stdout: impl AsyncRead + Unpin, output: &mut Vec<u8>, too_long: &Notify) {
    let limit = MAX_PAYLOAD_BYTES as u64 + 1;
    // What was read before an error counts; the exit code says whether it is a result.
    let _ = stdout.take(limit).read_to_end(output).await;
    if output.len() > MAX_PAYLOAD_BYTES {
        too_long.notify_one();
    }
}

/// Reads to the end and keeps the last part.
async fn take_tail(mut stderr: impl AsyncRead + Unpin, tail: &mut Vec<u8>) {
    let mut buffer = vec![0; ERROR_BYTES];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..read]);
        // One byte more than is shown tells that something was cut.
        tail.drain(..tail.len().saturating_sub(ERROR_BYTES + 1));
    }
}

fn exit(status: ExitStatus, output: Vec<u8>, tail: &[u8]) -> Exit {
    if output.len() > MAX_PAYLOAD_BYTES {
        return Exit::Failed(format!(
            "the output is longer than {MAX_PAYLOAD_BYTES} bytes; the command was killed"
        ));
    }
    if !status.success() {
        let error = error_text(status, tail);
        return match status.code() {
            Some(RETRY) => Exit::Retry(error),
            _ => Exit::Failed(error),
        };
    }
    match String::from_utf8(output) {
        Ok(output) => match output.find('\0') {
            Some(at) => Exit::Failed(format!("the output has a NUL character at byte {at}")),
            None => Exit::Succeeded(output),
        },
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Exit::Failed(format!("the output is not UTF-8 at byte {at}"))
        }
    }
}

fn error_text(status: ExitStatus, tail: &[u8]) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    };
    let (cut, tail) = match tail.len().checked_sub(ERROR_BYTES) {
        Some(more @ 1..) => ("…", &tail[more..]),
        _ => ("", tail),
    };
    let tail = String::from_utf8_lossy(tail);
    match tail.trim() {
        "" => how,
        tail => format!("{how}: {cut}{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobstore::{NewJob, Timestamp};

    async fn shell(script: &str, params: &str) -> Exit {
        let job = NewJob::new("test", params).into_job(Timestamp::from_millis(0));
        let command = ["sh", "-c", script].map(OsString::from);
        let mut process = Process::spawn(&command, &job).expect("sh starts");
        process.run(params).await
    }

    fn failed(exit: Exit) -> String {
        match exit {
            Exit::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_output_is_the_result_byte_for_byte() {
        let exit = shell("cat; echo; echo \"$JOBSTORE_JOB_NAME\"", "{ }").await;
        assert_eq!(exit, Exit::Succeeded("{ }\ntest\n".to_owned()));
    }

    #[tokio::test]
    async fn a_command_that_never_reads_still_ends() {
        let params = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
        let exit = shell("exit 0", &params).await;
        assert_eq!(exit, Exit::Succeeded(String::new()));
        let exit = shell(
            "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1",
            &params,
        )
        .await;
        let error = failed(exit);
        assert!(error.starts_with("exit code 1: …x") && error.len() < 2 * ERROR_BYTES);
    }

    #[tokio::test]
    async fn exit_codes_say_what_becomes_of_the_job() {
        let retry = shell("echo again >&2; exit 75", "{}").await;
        assert_eq!(retry, Exit::Retry("exit code 75: again".to_owned()));
        assert_eq!(failed(shell("exit 3", "{}").await), "exit code 3");
        assert_eq!(
            failed(shell("kill -9 $$", "{}").await),
            "killed by signal 9"
        );
    }

    #[tokio::test]
    async fn output_that_cannot_be_a_result_fails_the_job() {
        let error = failed(shell("printf 'a\\000b'", "{}").await);
        assert_eq!(error, "the output has a NUL character at byte 1");
        let error = failed(shell("printf 'a\\377'", "{}").await);
        assert_eq!(error, "the output is not UTF-8 at byte 1");
        let error = failed(shell("yes", "{}").await);
        assert!(error.contains("longer than 8388608 bytes"), "{error}");
    }

    #[tokio::test]
    async fn what_the_command_leaves_behind_does_not_hold_the_job() {
        let started = std::time::Instant::now();
        let exit = shell("sleep 60 & echo done", "{}").await;
        assert_eq!(exit, Exit::Succeeded("done\n".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
