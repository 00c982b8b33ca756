//! Workers under load, and the check that nothing was lost and nothing happened twice.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jobstore_core::{
    Action, ClaimRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _,
    NewJob, PageRequest, Result, RetryPolicy, Update,
};

/// Long enough that a job whose worker has it is seldom taken away, short enough to wait for.
const LEASE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Calls again while the store is away.
pub(crate) async fn again<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) if error.is_retryable() => tokio::time::sleep(PAUSE).await,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
}

/// Creates jobs, each with an id, so that creating again after a lost reply is recognised.
pub(crate) async fn create(store: &dyn JobStore, jobs: usize) -> Vec<JobId> {
    let ids: Vec<JobId> = (0..jobs).map(|_| JobId::generate()).collect();
    for ids in ids.chunks(500) {
        let jobs = ids.iter().map(|id| NewJob::new("load", "{}").with_id(*id));
        let jobs: Vec<NewJob> = jobs.collect();
        again(|| async {
            match store.create_jobs(jobs.clone()).await {
                Err(Error::AlreadyExists { .. }) => Ok(()),
                done => done.map(drop),
            }
        })
        .await;
    }
    ids
}

/// Claims and finishes until no job is left, and writes a line for each finish that was
/// acknowledged. `limit` jobs are claimed at once.
pub(crate) async fn work(
    store: &dyn JobStore,
    worker: &str,
    limit: u32,
    acknowledged: &mut impl Write,
) {
    let request = ClaimRequest::new(worker, LEASE).with_limit(limit);
    // Lost replies cost leases; how often is not the matter here.
    let policy = RetryPolicy {
        max_retries: 1_000_000,
        base: Duration::ZERO,
        max: Duration::ZERO,
    };
    let all = JobFilter::default();
    loop {
        let jobs = again(|| store.claim_jobs(&request)).await;
        if jobs.is_empty() {
            again(|| store.recover_expired(&[], policy)).await;
            let counts = again(|| store.count_jobs(&all)).await;
            if counts.get(JobStatus::Pending) + counts.get(JobStatus::Running) == 0 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let finish = |job: &Job| {
            let result = Some(format!("{worker} {}", job.fence));
            Update::new(job.claim(), Action::Finish { result })
        };
        let updates: Vec<Update> = jobs.iter().map(finish).collect();
        let verdicts = again(|| store.update_jobs(updates.clone())).await;
        for (job, verdict) in jobs.iter().zip(verdicts) {
            match verdict {
                Ok(_) => {
                    writeln!(acknowledged, "{} {worker} {}", job.id, job.fence).expect("writes")
                }
                // The lease was over, and somebody else has the job.
                Err(Error::LeaseLost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        acknowledged.flush().expect("writes");
    }
}

/// Checks that every job was finished, once, by who says that it did, and that there are no others.
pub(crate) async fn check(store: Arc<dyn JobStore>, created: &[JobId], acknowledged: &str) {
    let mut finished: HashMap<JobId, &str> = HashMap::new();
    for line in acknowledged.lines() {
        let (id, by) = line.split_once(' ').expect("an id and a worker");
        let id: JobId = id.parse().expect("an id");
        let before = finished.insert(id, by);
        assert_eq!(before, None, "{id} was finished twice, also by {by}");
    }
    let page = PageRequest::default().with_size(1000);
    let stream = store.stream_jobs(JobFilter::default(), page);
    let jobs: Vec<Job> = stream.try_collect().await.expect("lists");
    let jobs: HashMap<JobId, Job> = jobs.into_iter().map(|job| (job.id, job)).collect();
    assert_eq!(jobs.len(), created.len(), "as many jobs as were created");
    for id in created {
        let job = jobs.get(id).unwrap_or_else(|| panic!("{id} is lost"));
        assert_eq!(job.status, JobStatus::Succeeded, "{id}");
        let by = finished.get(id).copied();
        assert_eq!(
            job.result.as_deref(),
            by,
            "{id} has the result of who finished it"
        );
    }
}

/// Runs the test `child_process` of this program in a process of its own.
pub(crate) fn child(variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().expect("is running"))
        .args(["--exact", "child_process", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// What the children wrote to standard output that `work` wrote there.
pub(crate) async fn acknowledged(children: Vec<Child>) -> String {
    let mut lines = String::new();
    for child in children {
        let output = tokio::task::spawn_blocking(|| child.wait_with_output());
        let output = output.await.expect("does not panic").expect("ends");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stdout}{stderr}");
        // Between the lines of the test harness.
        for line in stdout.lines().filter(|line| line.contains(" worker-")) {
            lines.push_str(line.split_once("> ").map_or(line, |(_, line)| line));
            lines.push('\n');
        }
    }
    lines
}

/// How many jobs a load has, and how many unless the environment says.
pub(crate) fn jobs(otherwise: usize) -> usize {
    let jobs = std::env::var("JOBSTORE_FAULT_JOBS").ok();
    jobs.map_or(otherwise, |jobs| {
        jobs.parse().expect("JOBSTORE_FAULT_JOBS is a number")
    })
}
