//! `work`: runs a command once for each job.

mod process;
mod record;
mod stop;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jobstore::{
    Action, Arrivals, ClaimRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore,
    JobStoreExt as _, RetryPolicy,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::process::{Exit, Process};
use self::stop::{Phase, Stop};
use crate::Result;
use crate::args::WorkArgs;
use crate::output::{Output, note};

/// The longest a job whose worker died waits for being found, once its lease is over.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(5);
/// The wait after the store was too busy to answer.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// What every job is run with.
#[derive(Debug)]
struct Runner {
    store: Arc<dyn JobStore>,
    command: Vec<OsString>,
    lease: Duration,
    policy: RetryPolicy,
    stop: Stop,
}

/// What came of running a job.
#[derive(Debug)]
enum Ran {
    /// An outcome was recorded; the job as it is now.
    Recorded(Box<Job>),
    /// The job is somebody else's now, and nothing was recorded.
    Lost(JobId),
    /// The worker cannot go on.
    Broken(anyhow::Error),
}

/// Why a run ended.
#[derive(Debug)]
enum End {
    Exited(Exit),
    TimedOut,
    Lost,
    HandedBack,
}

pub(crate) async fn run(store: Arc<dyn JobStore>, args: WorkArgs, output: Output) -> Result {
    let stop = Stop::on_signals(args.grace).context("signals cannot be watched")?;
    let mut request = ClaimRequest::new(args.lease.owner(), args.lease.lease);
    request.job_names = args.job_names;
    let runner = Arc::new(Runner {
        store,
        command: args.command,
        lease: args.lease.lease,
        policy: args.policy.into(),
        stop: stop.clone(),
    });
    let worker = Worker {
        arrivals: runner.store.arrivals(),
        runner,
        request,
        concurrency: usize::from(args.concurrency),
        poll: args.poll.max(Duration::from_millis(1)),
        until_empty: args.until_empty,
        tasks: JoinSet::new(),
        next_claim: Instant::now(),
        next_recovery: Instant::now(),
        ended: BTreeMap::new(),
        broken: None,
        output,
    };
    worker.run(stop).await
}

/// Claims jobs and keeps as many running as it may.
#[derive(Debug)]
struct Worker {
    runner: Arc<Runner>,
    arrivals: Arrivals,
    request: ClaimRequest,
    concurrency: usize,
    poll: Duration,
    until_empty: bool,
    tasks: JoinSet<Ran>,
    /// Not to look for jobs before this.
    next_claim: Instant,
    next_recovery: Instant,
    /// How many runs ended in each status.
    ended: BTreeMap<JobStatus, u64>,
    /// Why it claims no more.
    broken: Option<anyhow::Error>,
    output: Output,
}

impl Worker {
    async fn run(mut self, mut stop: Stop) -> Result {
        loop {
            let phase = stop.phase();
            let free = self.concurrency - self.tasks.len();
            let may_claim = phase == Phase::Run && self.broken.is_none();
            if !may_claim && self.tasks.is_empty() {
                break;
            }
            let claims = may_claim && free > 0;
            if claims && self.next_claim <= Instant::now() {
                match self.claim(free).await {
                    Ok(Found::Nothing) if self.until_empty => break,
                    Ok(_) => {}
                    Err(error) if error.is_retryable() => {
                        note(&format!("{error}; trying again"));
                        self.next_claim = Instant::now() + BUSY_INTERVAL;
                    }
                    Err(error) => self.broken = Some(error.into()),
                }
                continue;
            }
            tokio::select! {
                Some(ran) = self.tasks.join_next() => {
                    self.ended(ran.unwrap_or_else(|error| Ran::Broken(error.into())));
                }
                () = sleep_until(self.next_claim), if claims => {}
                () = self.arrivals.next(), if claims => self.next_claim = Instant::now(),
                () = stop.changed(), if phase != Phase::HandBack => {}
            }
        }
        if !self.output.is_json() {
            let ended: Vec<String> = self
                .ended
                .iter()
                .map(|(status, runs)| format!("{runs} {status}"))
                .collect();
            note(&match ended.is_empty() {
                true => "no job was run".to_owned(),
                false => ended.join(", "),
            });
        }
        self.broken.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Claims and starts up to `free` jobs, after recovering those that others left behind.
    async fn claim(&mut self, free: usize) -> jobstore::Result<Found> {
        let store = &self.runner.store;
        if self.next_recovery <= Instant::now() {
            let names = &self.request.job_names;
            let jobs = store.recover_expired(names, self.runner.policy).await?;
            for job in jobs {
                note(&format!("job {} was recovered: {}", job.id, job.status));
            }
            let interval = (self.runner.lease / 3).min(RECOVERY_INTERVAL);
            self.next_recovery = Instant::now() + interval.max(self.poll);
        }
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        let request = self.request.clone().with_limit(limit);
        let jobs = store.claim_jobs(&request).await?;
        if jobs.is_empty() && self.tasks.is_empty() && self.until_empty {
            let filter = JobFilter {
                job_names: self.request.job_names.clone(),
                statuses: vec![JobStatus::Pending, JobStatus::Running],
                ..JobFilter::default()
            };
            if store.count_jobs(&filter).await?.total() == 0 {
                return Ok(Found::Nothing);
            }
        }
        if jobs.len() < free {
            self.next_claim = Instant::now() + self.poll;
        }
        for job in jobs {
            self.tasks.spawn(Arc::clone(&self.runner).run(job));
        }
        Ok(Found::Something)
    }

    fn ended(&mut self, ran: Ran) {
        match ran {
            Ran::Recorded(job) => {
                *self.ended.entry(job.status).or_default() += 1;
                // The jobs matter more than whoever watches them.
                let _ = self.output.outcomes([&*job]);
            }
            Ran::Lost(id) => note(&format!(
                "job {id} is somebody else's now; its run was stopped"
            )),
            // The first cause is the one that the others follow from.
            Ran::Broken(error) => {
                self.broken.get_or_insert(error);
            }
        }
    }
}

/// Whether there is anything left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Something,
    /// No job of these names is pending or running.
    Nothing,
}

impl Runner {
    /// Runs one job to its end, and records it.
    async fn run(self: Arc<Self>, job: Job) -> Ran {
        let (id, claim) = (job.id, job.claim());
        let mut process = match Process::spawn(&self.command, &job) {
            Ok(process) => process,
            // No fault of the job, and the next one would fare no better.
            Err(error) => {
                let handed_back = record::record(&*self.store, claim, Action::Reset).await;
                let command = self.command.first().map(|name| name.to_string_lossy());
                let command = command.unwrap_or_default();
                let error = anyhow::Error::new(error).context(match handed_back {
                    Ok(_) => format!("{command} cannot be started (job {id} was handed back)"),
                    Err(_) => format!("{command} cannot be started"),
                });
                return Ran::Broken(error);
            }
        };
        let mut stop = self.stop.clone();
        let end = tokio::select! {
            exit = process.run(job.params.as_str()) => End::Exited(exit),
            () = timeout(job.timeout) => End::TimedOut,
            () = self.renew(&job) => End::Lost,
            () = stop.hand_back() => End::HandedBack,
        };
        // Before anything is recorded: whoever runs the job next must be alone.
        process.end().await;
        let action = match end {
            End::Exited(Exit::Succeeded(result)) => Action::Finish {
                result: Some(result),
            },
            End::Exited(Exit::Failed(error)) => Action::Fail { error },
            End::Exited(Exit::Retry(error)) => Action::RetryOrFail {
                error,
                policy: self.policy,
            },
            End::TimedOut => Action::TimeOut,
            End::HandedBack => Action::Reset,
            End::Lost => return Ran::Lost(id),
        };
        match record::record(&*self.store, claim, action).await {
            Ok(job) => Ran::Recorded(Box::new(job)),
            Err(Error::LeaseLost { id } | Error::NotFound { id }) => Ran::Lost(id),
            Err(error) => {
                let error = anyhow::Error::new(error);
                Ran::Broken(error.context(format!("the outcome of job {id} was not recorded")))
            }
        }
    }

    /// Renews the lease at each third of it; returns when the job is lost.
    async fn renew(&self, job: &Job) {
        let third = (self.lease / 3).max(Duration::from_millis(1));
        let mut wait = third;
        loop {
            sleep(wait).await;
            match self.store.renew_lease(job.claim(), self.lease).await {
                Ok(_) => wait = third,
                Err(Error::LeaseLost { .. } | Error::NotFound { .. }) => return,
                // Until somebody recovers the job it is ours, expired or not.
                Err(error) => {
                    note(&format!(
                        "the lease of job {} is not renewed: {error}",
                        job.id
                    ));
                    wait = third.min(BUSY_INTERVAL);
                }
            }
        }
    }
}

async fn timeout(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep(timeout).await,
        None => std::future::pending().await,
    }
}
