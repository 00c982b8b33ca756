//! `submit`: one job, or a stream of them in batches.

mod file;
mod store;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use jobstore::validate::MAX_ITEMS;
use jobstore::{JobId, JobStore, NewJob};
use tokio::sync::mpsc;

use self::file::{JobLines, LineError, NumberedJob};
use self::store::{Failed, Outcome, store_batch};
use super::{only_one, text};
use crate::Result;
use crate::args::SubmitArgs;
use crate::output::Output;

/// Params in a batch before it is stored: what bounds the memory used.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

pub(crate) async fn run(store: &dyn JobStore, args: SubmitArgs, output: Output) -> Result {
    match &args.file {
        Some(path) => file(store, path, output).await,
        None => one(store, args, output).await,
    }
}

async fn one(store: &dyn JobStore, args: SubmitArgs, output: Output) -> Result {
    let now = store.now();
    let job = NewJob {
        id: args.id,
        job_name: args.job_name.unwrap_or_default(),
        params: text(args.params)?.into(),
        timeout: args.timeout,
        priority: args.priority,
        next_attempt_at: args
            .at
            .map(|moment| moment.at(now))
            .or(args.delay.map(|delay| now.saturating_add(delay))),
        max_retries: args.max_retries,
        unique_key: args.unique_key,
    };
    let Outcome { stored, failed } = store_batch(store, vec![job]).await;
    output.outcomes(stored.iter().map(|stored| &stored.job))?;
    match failed {
        None => Ok(()),
        Some(Failed::Store(error)) => Err(only_one(error).into()),
        Some(Failed::Conflict(id)) => Err(conflict(id).into()),
    }
}

fn conflict(id: JobId) -> anyhow::Error {
    anyhow!("job {id} exists already with another name or other params")
}

/// What the thread that reads sends to the task that stores.
#[derive(Debug)]
enum Message {
    /// Jobs of lines in order, never empty, no two with the same id; and the bytes read so far.
    Batch(Vec<NumberedJob>, u64),
    /// Why there are no more.
    Failed(anyhow::Error),
}

async fn file(store: &dyn JobStore, path: &Path, output: Output) -> Result {
    let (name, input) = match path.to_str() {
        Some("-") => ("standard input".to_owned(), None),
        _ => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
            (name, Some(file))
        }
    };
    let size = input
        .as_ref()
        .and_then(|file| file.metadata().ok())
        .filter(|metadata| metadata.is_file())
        .map(|metadata| metadata.len());
    // What can be read twice is checked whole first; a pipe can be read once.
    if let Some(size) = size {
        let path = path.to_owned();
        let progress = progress("checking", Some(size));
        let checked = tokio::task::spawn_blocking(move || check(&path, &progress)).await;
        checked
            .context("the check broke off")?
            .context(name.clone())?;
    }
    let progress = progress("storing", size);
    let (sender, mut messages) = mpsc::channel(1);
    // Not joined: it may wait for input that never comes, and ends with the process.
    std::thread::spawn(move || match input {
        Some(file) => send_batches(file, &sender),
        None => send_batches(io::stdin(), &sender),
    });
    let (mut new, mut old) = (0_u64, 0_u64);
    while let Some(message) = messages.recv().await {
        let (batch, bytes) = match message {
            Message::Batch(batch, bytes) => (batch, bytes),
            Message::Failed(error) => {
                progress.finish_and_clear();
                return Err(error.context(name).into());
            }
        };
        let lines: Vec<u64> = batch.iter().map(|numbered| numbered.line).collect();
        let jobs: Vec<NewJob> = batch.into_iter().map(|numbered| numbered.job).collect();
        let Outcome { stored, failed } = store_batch(store, jobs).await;
        for stored in &stored {
            match stored.is_new {
                true => new += 1,
                false => old += 1,
            }
        }
        if output.is_json() {
            output.outcomes(stored.iter().map(|stored| &stored.job))?;
        }
        progress.set_position(bytes);
        if let Some(failed) = failed {
            progress.finish_and_clear();
            let line = lines.get(stored.len()).or(lines.last()).copied();
            let line = line.unwrap_or_default();
            let error = match failed {
                Failed::Conflict(id) => conflict(id),
                Failed::Store(error) => error.into(),
            };
            let place = format!("{name}: line {line} (the jobs of the lines before it are stored)");
            return Err(error.context(place).into());
        }
    }
    progress.finish_and_clear();
    if !output.is_json() {
        let existed = match old {
            0 => String::new(),
            old => format!(", {old} existed already"),
        };
        let jobs = if new == 1 { "job" } else { "jobs" };
        output.line(&format!("{new} {jobs} submitted{existed}"))?;
    }
    Ok(())
}

/// Reads every line, and fails when one of them is no job.
fn check(path: &Path, progress: &ProgressBar) -> anyhow::Result<()> {
    let mut lines = JobLines::new(File::open(path)?);
    let mut first = None;
    let mut others = 0_u64;
    loop {
        match lines.next_job() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(LineError::Bad(_)) if first.is_some() => others += 1,
            Err(LineError::Bad(bad)) => first = Some(bad),
            Err(LineError::Read(error)) => return Err(error).context("cannot be read"),
        }
        progress.set_position(lines.bytes());
    }
    progress.finish_and_clear();
    let Some(bad) = first else {
        return Ok(());
    };
    let others = match others {
        0 => String::new(),
        1 => ", and one more line is bad".to_owned(),
        others => format!(", and {others} more lines are bad"),
    };
    Err(anyhow!("{bad}{others} (nothing was stored)"))
}

/// Sends what is read in batches, until the end, a bad line, or until nobody listens.
fn send_batches(input: impl Read, sender: &mpsc::Sender<Message>) {
    let mut lines = JobLines::new(input);
    let mut batch = Batch::default();
    // Nobody listens any more when storing failed, and that is what will be reported.
    let _ = loop {
        let next = lines.next_job();
        let ends = match &next {
            Ok(Some(next)) => batch.has_id_of(&next.job),
            Ok(None) | Err(_) => true,
        };
        if ends && batch.send(sender, lines.bytes()).is_err() {
            return;
        }
        match next {
            Ok(Some(next)) => batch.push(next),
            Ok(None) => return,
            Err(LineError::Bad(bad)) => {
                let error = anyhow!("{bad} (the jobs of the lines before it are stored)");
                break sender.blocking_send(Message::Failed(error));
            }
            Err(LineError::Read(error)) => {
                let error = anyhow::Error::new(error).context("cannot be read");
                break sender.blocking_send(Message::Failed(error));
            }
        }
        // Whoever writes line by line and waits for ours must not wait for a full batch.
        let ends = batch.is_full() || !lines.has_next_line();
        if ends && batch.send(sender, lines.bytes()).is_err() {
            return;
        }
    };
}

/// The jobs to be stored together next.
#[derive(Debug, Default)]
struct Batch {
    jobs: Vec<NumberedJob>,
    ids: HashSet<JobId>,
    bytes: usize,
}

impl Batch {
    /// Whether the job must wait for the next batch: what is stored before is found only there.
    fn has_id_of(&self, job: &NewJob) -> bool {
        job.id.is_some_and(|id| self.ids.contains(&id))
    }

    fn push(&mut self, numbered: NumberedJob) {
        self.bytes += numbered.job.params.as_str().len();
        self.ids.extend(numbered.job.id);
        self.jobs.push(numbered);
    }

    fn is_full(&self) -> bool {
        self.jobs.len() == MAX_ITEMS || self.bytes >= BATCH_BYTES
    }

    /// Sends the jobs on, if there are any.
    fn send(&mut self, sender: &mpsc::Sender<Message>, read: u64) -> Result<(), ()> {
        let Self { jobs, .. } = std::mem::take(self);
        if jobs.is_empty() {
            return Ok(());
        }
        sender
            .blocking_send(Message::Batch(jobs, read))
            .map_err(|_| ())
    }
}

/// A progress bar on standard error, which shows nothing where that is no terminal.
fn progress(what: &'static str, size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{msg} [{bar:40}] {bytes}/{total_bytes} {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar
            .with_style(style.progress_chars("=> "))
            .with_message(what),
        Err(_) => bar,
    }
}
