//! What is measured, and the one loop that measures it.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jobstore::{
    Claim, DeleteRequest, JobFilter, JobStatus, JobStore, NewJob, Order, PageRequest, Timestamp,
};

use crate::data::{MOST, NAME, PARAMS, RARE, claim};
use crate::limit::Write;
use crate::side::{Listing, Side};

/// What each caller does, again and again.
#[derive(Clone, Debug)]
pub enum Work {
    /// Creates a batch.
    Create,
    /// Claims a batch.
    Claim,
    /// Finishes a batch of running jobs.
    Finish,
    /// Creates a batch, claims one, and finishes what it claimed.
    Lifecycle,
    /// Lifecycles, and a page of 100 after each tenth.
    Mixed,
    /// Reads this page.
    Page(Box<Listing>),
    /// Reads all pages of 1,000 from the first to the last.
    Walk,
}

/// Work, done by some callers at once in batches of some size.
#[derive(Clone, Debug)]
pub struct Case {
    /// Which group of the report it stands in: create, claim, finish, lifecycle, list, mixed.
    pub group: &'static str,
    /// Which page; empty for the other groups.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    /// How many callers do it.
    pub callers: usize,
    /// How many jobs each call is about.
    pub batch: usize,
}

/// What the calls of a case came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Jobs created, claimed, finished or read; each once in a lifecycle.
    pub jobs: usize,
    /// How long all calls took.
    pub elapsed: Duration,
    /// How long each call took, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// The jobs it was about.
    touched: Vec<Claim>,
}

/// One call, made ready before the time is taken.
enum Step {
    Write(Write),
    Lifecycle { batch: usize, page: bool },
    Page(Listing),
    Walk,
}

impl Case {
    /// Creating, claiming, finishing or lifecycles.
    pub fn write(group: &'static str, callers: usize, batch: usize) -> Self {
        let work = match group {
            "create" => Work::Create,
            "claim" => Work::Claim,
            "finish" => Work::Finish,
            "lifecycle" => Work::Lifecycle,
            _ => Work::Mixed,
        };
        Self {
            group,
            name: "",
            work,
            callers,
            batch,
        }
    }

    /// A page of 100.
    pub fn page(name: &'static str, listing: Listing) -> Self {
        Self {
            group: "list",
            name,
            work: Work::Page(Box::new(listing)),
            callers: 1,
            batch: 100,
        }
    }

    /// A walk over everything.
    pub fn walk() -> Self {
        Self {
            work: Work::Walk,
            batch: 1000,
            ..Self::page("walk", Listing::default())
        }
    }

    /// How many jobs this many calls use up, which must be there before.
    fn stock(&self, calls: usize) -> usize {
        match self.work {
            Work::Claim | Work::Finish => calls * self.batch,
            _ => 0,
        }
    }

    /// Makes this many calls and takes the time. What they need is made before, and everything is
    /// finished after, outside of it.
    pub async fn run(&self, side: &Side, calls: usize) -> Run {
        let steps = self.steps(side, calls).await;
        let start = Instant::now();
        let callers = steps
            .into_iter()
            .map(|steps| tokio::spawn(call(side.clone(), steps)));
        let mut run = Run::default();
        for caller in callers.collect::<Vec<_>>() {
            run = run.and(caller.await.expect("no panic"));
        }
        // One caller alone is measured without what it does between its calls.
        if self.callers > 1 {
            run.elapsed = start.elapsed();
        }
        match self.work {
            Work::Page(_) | Work::Walk => {}
            Work::Claim => side.finish_all(run.touched.clone()).await,
            _ => side.finish_all(Vec::new()).await,
        }
        run
    }

    /// As many calls as are done in about this long, found by trying, and what was tried.
    pub async fn calls_in(&self, side: &Side, time: Duration, most_jobs: usize) -> (usize, Run) {
        let least = self.callers;
        let most = (most_jobs / self.batch).max(least);
        let mut calls = least;
        let mut tried = Run::default();
        loop {
            let run = self.run(side, calls).await;
            let took = run.elapsed;
            tried = tried.and(run);
            if took * 4 > time || calls >= most {
                let calls = calls as f64 * time.as_secs_f64() / took.as_secs_f64();
                return ((calls as usize).clamp(least, most), tried);
            }
            calls = (calls * 4).min(most);
        }
    }

    async fn steps(&self, side: &Side, calls: usize) -> Vec<Vec<Step>> {
        let batch = self.batch;
        if self.stock(calls) > 0 {
            side.fill(self.stock(calls)).await;
        }
        let mut running = Vec::new();
        if matches!(self.work, Work::Finish) {
            while running.len() < self.stock(calls) {
                let limit = (self.stock(calls) - running.len()).min(MOST);
                let claimed = side.write(claim(limit)).await;
                assert!(!claimed.is_empty(), "as many were created");
                running.extend(claimed);
            }
        }
        let mut running = running.chunks(batch);
        let mut steps: Vec<Vec<Step>> = (0..self.callers).map(|_| Vec::new()).collect();
        for index in 0..calls.max(self.callers) {
            let step = match &self.work {
                Work::Create => Step::Write(Write::Create(vec![NewJob::new(NAME, PARAMS); batch])),
                Work::Claim => Step::Write(claim(batch)),
                Work::Finish => match running.next() {
                    Some(claims) => Step::Write(Write::Finish(claims.to_vec())),
                    None => break,
                },
                Work::Lifecycle => Step::Lifecycle { batch, page: false },
                Work::Mixed => Step::Lifecycle {
                    batch,
                    page: index / self.callers % 10 == 9,
                },
                Work::Page(listing) => Step::Page((**listing).clone()),
                Work::Walk => Step::Walk,
            };
            steps[index % self.callers].push(step);
        }
        steps
    }
}

impl Default for Run {
    /// No call yet.
    fn default() -> Self {
        Self {
            jobs: 0,
            elapsed: Duration::ZERO,
            latencies: Histogram::new(3).expect("three digits"),
            touched: Vec::new(),
        }
    }
}

impl Run {
    /// Adds a call about this many jobs.
    pub fn add(&mut self, jobs: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).expect("less than centuries");
        self.latencies.record(nanos).expect("it grows");
        self.elapsed += took;
        self.jobs += jobs;
    }

    fn and(mut self, other: Self) -> Self {
        self.jobs += other.jobs;
        self.elapsed += other.elapsed;
        self.latencies.add(other.latencies).expect("both grow");
        self.touched.extend(other.touched);
        self
    }

    /// Jobs per second.
    pub fn rate(&self) -> f64 {
        self.jobs as f64 / self.elapsed.as_secs_f64()
    }

    /// Deletes the jobs it was about, so that a data set stays as it was.
    pub async fn delete(&self, store: &dyn JobStore) {
        let ids: Vec<_> = self.touched.iter().map(|claim| claim.id).collect();
        for ids in ids.chunks(MOST) {
            let request = DeleteRequest::Ids(ids.to_vec());
            store.delete_jobs(&request).await.expect("deletes");
        }
    }
}

/// One caller.
async fn call(side: Side, steps: Vec<Step>) -> Run {
    let mut run = Run::default();
    for step in steps {
        let start = Instant::now();
        let (jobs, claims) = step.take(&side).await;
        run.add(jobs, start.elapsed());
        run.touched.extend(claims);
    }
    run
}

impl Step {
    async fn take(self, side: &Side) -> (usize, Vec<Claim>) {
        match self {
            Self::Write(call) => {
                let claims = side.write(call).await;
                (claims.len(), claims)
            }
            Self::Lifecycle { batch, page } => {
                let jobs = vec![NewJob::new(NAME, PARAMS); batch];
                side.write(Write::Create(jobs)).await;
                let mut finished = Vec::new();
                // Another caller's job may be locked just now and be passed over.
                while finished.is_empty() {
                    let claims = side.write(claim(batch)).await;
                    if !claims.is_empty() {
                        finished = side.write(Write::Finish(claims)).await;
                    }
                }
                if page {
                    side.page(&Listing::default()).await;
                }
                (finished.len(), finished)
            }
            Self::Page(listing) => (side.page(&listing).await.jobs, Vec::new()),
            Self::Walk => {
                let mut listing = Some(Listing {
                    request: PageRequest::default().with_size(1000),
                    ..Listing::default()
                });
                let mut jobs = 0;
                while let Some(page) = listing {
                    let read = side.page(&page).await;
                    jobs += read.jobs;
                    listing = page.next(read);
                }
                (jobs, Vec::new())
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            "" if self.callers == 1 => write!(f, "{} {}", self.group, self.batch),
            "" => write!(
                f,
                "{} {} from {} callers",
                self.group, self.batch, self.callers
            ),
            name => f.write_str(name),
        }
    }
}

/// A page of 100 for each way of filtering. `deep` is a page in the middle.
pub fn filters(deep: &Listing, now: Timestamp) -> Vec<Case> {
    let any = JobFilter::default;
    let of = |filter| Listing {
        filter,
        ..Listing::default()
    };
    let newest = Listing {
        request: PageRequest::default().with_order(Order::Descending),
        ..Listing::default()
    };
    let until_now = JobFilter {
        created_from: Some(Timestamp::from_millis(0)),
        created_to: Some(now),
        ..any()
    };
    let expired = JobFilter {
        lease_expired_by: Some(now),
        ..any()
    };
    vec![
        Case::page("first page", Listing::default()),
        Case::page("page in the middle", deep.clone()),
        Case::page("last page", newest),
        Case::page("of a name", of(any().with_job_name("render"))),
        Case::page("of a status", of(any().with_statuses([JobStatus::Pending]))),
        Case::page(
            "of a name and status",
            of(any()
                .with_job_name("render")
                .with_statuses([JobStatus::Pending])),
        ),
        Case::page("of a time of creation (all)", of(until_now)),
        Case::page("with a lease that is over (none)", of(expired)),
        Case::page(
            "params that many have",
            of(any().with_params(r#"{"template":"welcome"}"#)),
        ),
        Case::page("params that ten have", of(any().with_params(RARE))),
    ]
}
