//! The jobs that stand beside those that are measured.

use jobstore::{Claim, Clock as _, JobId, JobStore, NewJob, SystemClock};

use crate::limit::Write;
use crate::side::{self, Side};

/// What a job in a benchmark carries.
pub const PARAMS: &str = r#"{"to":"ada@example.org","template":"welcome","attempt":1}"#;
/// What ten jobs of every data set carry.
pub const RARE: &str = r#"{"to":"ada@example.org","template":"farewell","attempt":1}"#;
/// The name of the jobs that are claimed.
pub const NAME: &str = "mail";
/// The most jobs in one call.
pub(crate) const MOST: usize = 1000;

/// Creates jobs in batches of 1,000 and returns their ids.
pub async fn fill(store: &dyn JobStore, name: &str, jobs: usize) -> Vec<JobId> {
    let write = async |call| side::write(store, call).await;
    let created = create(&write, NewJob::new(name, PARAMS), jobs).await;
    created.iter().map(|claim| claim.id).collect()
}

/// Adds `rows` jobs that no claim wants: a third finished, a third not due for a year and of a
/// higher priority, a third of another name.
pub async fn fill_others(store: &dyn JobStore, rows: usize) {
    others(&async |call| side::write(store, call).await, rows).await;
}

impl Side {
    /// As [`fill_others`].
    pub async fn fill_others(&self, rows: usize) {
        others(&async |call| self.write(call).await, rows).await;
    }

    /// Creates jobs in batches of 1,000.
    pub async fn fill(&self, jobs: usize) -> Vec<Claim> {
        let write = async |call| self.write(call).await;
        create(&write, NewJob::new(NAME, PARAMS), jobs).await
    }

    /// Finishes these jobs and all that can be claimed, so that what comes next meets only others.
    pub async fn finish_all(&self, mut running: Vec<Claim>) {
        loop {
            for claims in running.chunks(MOST) {
                self.write(Write::Finish(claims.to_vec())).await;
            }
            running = self.write(claim(MOST)).await;
            if running.is_empty() {
                break;
            }
        }
    }
}

/// A claim of that many of the jobs that are to be claimed.
pub(crate) fn claim(jobs: usize) -> Write {
    Write::Claim {
        name: NAME.to_owned(),
        limit: u32::try_from(jobs).expect("at most 1,000"),
    }
}

async fn others(write: &impl AsyncFn(Write) -> Vec<Claim>, rows: usize) {
    let third = rows / 3;
    create(write, NewJob::new(NAME, PARAMS), third).await;
    loop {
        let running = write(claim(MOST)).await;
        if running.is_empty() {
            break;
        }
        write(Write::Finish(running)).await;
    }
    let mut next_year = SystemClock.now();
    next_year = next_year.saturating_add(std::time::Duration::from_secs(365 * 86_400));
    let later = NewJob::new(NAME, PARAMS).with_priority(9);
    create(write, later.with_next_attempt_at(next_year), third).await;
    let rare = (third / 10).max(1);
    for start in (0..third).step_by(MOST) {
        let jobs = (start..third.min(start + MOST)).map(|index| {
            let params = if index % rare == 0 { RARE } else { PARAMS };
            NewJob::new("render", params)
        });
        write(Write::Create(jobs.collect())).await;
    }
}

async fn create(write: &impl AsyncFn(Write) -> Vec<Claim>, job: NewJob, jobs: usize) -> Vec<Claim> {
    let mut created = Vec::with_capacity(jobs);
    while created.len() < jobs {
        let batch = vec![job.clone(); (jobs - created.len()).min(MOST)];
        created.extend(write(Write::Create(batch)).await);
    }
    created
}
