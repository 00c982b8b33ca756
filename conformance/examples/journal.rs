//! A complete small backend: the jobs in memory, and every change a line of a file.
//!
//! `docs/writing-a-backend.md` walks through it. `cargo test -p jobstore-conformance --all-features
//! --example journal` runs the suite on it as tests, `cargo run` as a program.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Crash, Harness, Surroundings};
use jobstore_core::{
    Applied, ClaimRequest, Clock, Creation, DeleteRequest, Error, Job, JobFilter, JobId, JobParams,
    JobStatus, JobStore, ManualClock, NewJob, Order, PageRequest, PagedList, Result, StatusCounts,
    StoreClock, Timestamp, Update, claimed, validate,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// A job store in a file to which lines are added.
///
/// A returned call is on disk and survives a power cut. One handle at a time has the file.
#[derive(Debug)]
pub struct JournalStore {
    journal: Mutex<Journal>,
    clock: StoreClock,
}

/// What is locked: the file, and what its lines come to.
#[derive(Debug)]
struct Journal {
    file: File,
    jobs: BTreeMap<JobId, Job>,
    /// Whether a line may have been written by halves. Opening the file again finds out.
    broken: bool,
}

/// What one call changes: one line.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Step {
    put: Vec<Kept>,
    delete: Vec<JobId>,
}

/// A job, and its params as a text. The JSON form of a job keeps what params mean, and makes line
/// breaks between them spaces; a store keeps every byte.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    job: Job,
    params: String,
}

impl From<Job> for Kept {
    fn from(job: Job) -> Self {
        let params = job.params.as_str().to_owned();
        Self { job, params }
    }
}

impl From<Kept> for Job {
    fn from(Kept { mut job, params }: Kept) -> Self {
        job.params = JobParams::new(params);
        job
    }
}

impl JournalStore {
    /// Opens the file, which is made when it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while another handle has it, [`Error::Incompatible`] when a line of it is
    /// not ours.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let opened = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path);
        let file = opened.map_err(backend)?;
        if file.try_lock().is_err() {
            let reason = "another handle has the file".to_owned();
            return Err(Error::Unavailable { reason });
        }
        // A new file is only there after a power cut once its folder says so.
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(backend)?;
        }
        Ok(Self {
            journal: Mutex::new(Journal::read(file)?),
            clock: StoreClock::new(clock),
        })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Does again what the lines say. What follows the last whole line was never acknowledged.
    fn read(file: File) -> Result<Self> {
        let mut journal = Self {
            file,
            jobs: BTreeMap::new(),
            broken: false,
        };
        let mut lines = BufReader::new(journal.file.try_clone().map_err(backend)?);
        let (mut line, mut whole) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).map_err(backend)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let step = serde_json::from_slice(&line);
            journal.keep(step.map_err(|_| Error::Incompatible {
                reason: format!("the line at byte {whole} is not ours"),
            })?);
            whole += length as u64;
        }
        journal.file.set_len(whole).map_err(backend)?;
        Ok(journal)
    }

    fn keep(&mut self, step: Step) {
        let jobs = step.put.into_iter().map(Job::from);
        self.jobs.extend(jobs.map(|job| (job.id, job)));
        for id in step.delete {
            self.jobs.remove(&id);
        }
    }

    /// Writes a step, wholly or not at all. Only then is it seen.
    fn write(&mut self, step: Step) -> Result<()> {
        if step.put.is_empty() && step.delete.is_empty() {
            return Ok(());
        }
        if self.broken {
            let reason = "writing failed before: open the file again".to_owned();
            return Err(Error::Unavailable { reason });
        }
        let line = serde_json::to_string(&step).map_err(|error| backend(error.into()))? + "\n";
        let written = self.file.write_all(line.as_bytes());
        let synced = written.and_then(|()| self.file.sync_data());
        self.broken = synced.is_err();
        synced.map_err(backend)?;
        self.keep(step);
        Ok(())
    }

    /// The jobs that meet the filter.
    fn matching(&self, filter: &JobFilter) -> Result<Vec<&Job>> {
        let matcher = filter.compile()?;
        Ok(self
            .jobs
            .values()
            .filter(|job| matcher.matches(job))
            .collect())
    }
}

/// What a call is about to write, over what is there.
struct Draft<'a> {
    there: &'a BTreeMap<JobId, Job>,
    put: BTreeMap<JobId, Job>,
}

impl<'a> Draft<'a> {
    fn over(journal: &'a Journal) -> Self {
        Self {
            there: &journal.jobs,
            put: BTreeMap::new(),
        }
    }

    fn get(&self, id: &JobId) -> Option<&Job> {
        self.put.get(id).or_else(|| self.there.get(id))
    }

    /// The unfinished job that holds this job's unique key.
    fn holder(&self, job: &Job) -> Option<&Job> {
        let key = job.held_unique_key()?;
        let ids = self.there.keys().chain(self.put.keys());
        ids.filter_map(|id| self.get(id))
            .find(|other| other.held_unique_key() == Some(key))
    }

    fn create(&mut self, job: Job) -> Result<Creation> {
        // The key comes before the id, so that a create may be repeated.
        if let Some(holder) = self.holder(&job) {
            return Ok(Creation::Existing(holder.clone()));
        }
        if self.get(&job.id).is_some() {
            return Err(Error::AlreadyExists { id: job.id });
        }
        self.put.insert(job.id, job.clone());
        Ok(Creation::Created(job))
    }

    fn update(&mut self, update: &Update, now: Timestamp) -> Result<Job> {
        let id = update.target.id();
        let job = self.get(&id).ok_or(Error::NotFound { id })?;
        let Applied::Changed(next) = update.apply(job, now)? else {
            return Ok(job.clone());
        };
        if let Some(holder) = self.holder(&next).filter(|holder| holder.id != id) {
            return Err(Error::AlreadyExists { id: holder.id });
        }
        self.put.insert(id, next.clone());
        Ok(next)
    }

    fn into_step(self) -> Step {
        Step {
            put: self.put.into_values().map(Kept::from).collect(),
            delete: Vec::new(),
        }
    }
}

fn backend(error: io::Error) -> Error {
    let source = Arc::new(error);
    Error::Backend { source }
}

#[async_trait]
impl JobStore for JournalStore {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        validate::new_jobs(&jobs)?;
        let mut journal = self.journal();
        let now = self.now();
        let mut draft = Draft::over(&journal);
        let jobs = jobs.into_iter().map(|job| draft.create(job.into_job(now)));
        let creations = jobs.collect::<Result<_>>()?;
        let step = draft.into_step();
        journal.write(step)?;
        Ok(creations)
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        let journal = self.journal();
        Ok(ids.iter().map(|id| journal.jobs.get(id).cloned()).collect())
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let matcher = filter.compile()?;
        let start = page.start(&matcher)?;
        let journal = self.journal();
        let mut jobs = journal.matching(filter)?;
        jobs.retain(|job| match (start, page.order) {
            (None, _) => true,
            (Some(start), Order::Ascending) => job.list_order() > start,
            (Some(start), Order::Descending) => job.list_order() < start,
        });
        jobs.sort_unstable_by_key(|job| job.list_order());
        if page.order == Order::Descending {
            jobs.reverse();
        }
        jobs.truncate(page.size as usize);
        let full = jobs.len() == page.size as usize;
        let last = jobs.last().filter(|_| full);
        Ok(PagedList {
            token: last.map(|last| page.token_after(last, &matcher)),
            items: jobs.into_iter().cloned().collect(),
            unreadable: Vec::new(),
        })
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        let mut counts = StatusCounts::default();
        for job in self.journal().matching(filter)? {
            counts.add(job.status, 1);
        }
        Ok(counts)
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        let mut journal = self.journal();
        let now = self.now();
        let names: HashSet<&String> = request.job_names.iter().collect();
        let mut jobs: Vec<&Job> = journal.jobs.values().collect();
        jobs.retain(|job| job.status == JobStatus::Pending && job.next_attempt_at <= now);
        jobs.retain(|job| names.is_empty() || names.contains(&job.job_name));
        jobs.sort_unstable_by_key(|job| job.claim_order());
        jobs.truncate(request.limit as usize);
        let claims = jobs
            .into_iter()
            .map(|job| claimed(job, &request.lease, now));
        let claims: Vec<Job> = claims.collect();
        journal.write(Step {
            put: claims.iter().cloned().map(Kept::from).collect(),
            ..Step::default()
        })?;
        Ok(claims)
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        validate::updates(&updates)?;
        let mut journal = self.journal();
        let now = self.now();
        let mut draft = Draft::over(&journal);
        let verdicts = updates.iter().map(|update| draft.update(update, now));
        let verdicts = verdicts.collect();
        let step = draft.into_step();
        journal.write(step)?;
        Ok(verdicts)
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        let mut journal = self.journal();
        let mut jobs: Vec<&Job> = journal.jobs.values().collect();
        jobs.retain(|job| request.matches(job));
        if let DeleteRequest::Before { limit, .. } = request {
            jobs.sort_unstable_by_key(|job| (job.last_update_time, job.id));
            jobs.truncate(*limit as usize);
        }
        let delete: Vec<JobId> = jobs.into_iter().map(|job| job.id).collect();
        journal.write(Step {
            delete: delete.clone(),
            ..Step::default()
        })?;
        Ok(delete)
    }
}

struct Journals;

#[async_trait]
impl Harness for Journals {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
            arrivals: false,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let folder = tempfile::tempdir().map_err(backend)?;
        let path = Mutex::new(folder.path().join("jobs"));
        Ok(Box::new(InFolder {
            folder,
            path,
            clock,
        }))
    }
}

struct InFolder {
    folder: TempDir,
    path: Mutex<PathBuf>,
    clock: ManualClock,
}

#[async_trait]
impl Surroundings for InFolder {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let path = self.path.lock().expect("no panic").clone();
        let clock = Arc::new(self.clock.clone());
        Ok(Arc::new(JournalStore::open(&path, clock)?))
    }

    fn kill(&self) -> Option<&dyn Crash> {
        Some(self)
    }
}

#[async_trait]
impl Crash for InFolder {
    async fn crash(&self) -> Result<()> {
        // What the system has of the file now is what a killed process would leave.
        let next = self.folder.path().join(JobId::generate().to_string());
        let mut path = self.path.lock().expect("no panic");
        std::fs::copy(&*path, &next).map_err(backend)?;
        *path = next;
        Ok(())
    }
}

jobstore_conformance::conformance_tests!(Journals, without shared, arrivals, tamper, requests, power_cut);
jobstore_conformance::conformance_model_tests!(Journals);

fn main() -> ExitCode {
    jobstore_conformance::command::main(&Journals)
}
