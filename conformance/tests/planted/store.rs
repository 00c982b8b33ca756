//! A plain store that is right but for one defect, and the harness that hands it over.
//!
//! It keeps every job in one sorted map and looks at all of them for every call, so that a defect is
//! a line where the rule would stand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jobstore_conformance::{Capabilities, Harness, Surroundings};
use jobstore_core::{
    Action, Arrivals, ClaimRequest, Clock as _, Creation, DeleteRequest, Error, Job, JobFilter,
    JobId, JobStatus, JobStore, ManualClock, NewJob, PageRequest, PagedList, Result, StatusCounts,
    StoreClock, Timestamp, Update, validate,
};
use tokio::task::yield_now;

use crate::arrival::Told;
use crate::defect::Defect;

/// Claims to be durable and shared: its jobs live as long as its surroundings.
pub(crate) struct Suspect(pub(crate) Defect);

#[async_trait]
impl Harness for Suspect {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            arrivals: true,
        }
    }

    async fn fresh(&self, clock: ManualClock) -> Result<Box<dyn Surroundings>> {
        let disk = Disk {
            defect: self.0,
            ..Disk::default()
        };
        let disk = Arc::new(Mutex::new(disk));
        Ok(Box::new(Place { clock, disk }))
    }
}

struct Place {
    clock: ManualClock,
    disk: Arc<Mutex<Disk>>,
}

#[async_trait]
impl Surroundings for Place {
    async fn open(&self) -> Result<Arc<dyn JobStore>> {
        let disk = self.disk.lock().expect("no panic");
        Ok(Arc::new(Planted {
            defect: disk.defect,
            clock: StoreClock::new(Arc::new(self.clock.clone())),
            raw_clock: self.clock.clone(),
            disk: Arc::clone(&self.disk),
            seen: Mutex::default(),
            told: Told::new(disk.defect),
        }))
    }

    async fn close(&self) {
        self.disk.lock().expect("no panic").lose();
    }
}

/// What every handle sees.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) defect: Defect,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// What some defects keep beside the jobs.
    pub(crate) keys: HashMap<(String, String), JobId>,
    pub(crate) removed: Vec<Job>,
    pub(crate) before_last_write: BTreeMap<JobId, Job>,
    pub(crate) last_claimed: Option<Job>,
    pub(crate) last_counts: Option<(JobFilter, StatusCounts)>,
}

impl Disk {
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// What a defect makes of the jobs when the last handle is closed.
    fn lose(&mut self) {
        match self.defect {
            Defect::ForgetsWhenClosed => self.jobs.clear(),
            Defect::FencesRestartWhenClosed => {
                self.jobs.values_mut().for_each(|job| job.fence = 0);
            }
            Defect::LeasesAreForgottenWhenClosed => {
                self.jobs
                    .values_mut()
                    .filter(|job| job.status == JobStatus::Running)
                    .for_each(|job| job.status = JobStatus::Pending);
            }
            Defect::LastWriteIsNotFlushed => self.jobs = self.before_last_write.clone(),
            Defect::DeletedComeBackWhenReopened => {
                let removed = self.removed.drain(..);
                self.jobs.extend(removed.map(|job| (job.id, job)));
            }
            Defect::DueTimesAreForgottenWhenClosed => {
                let jobs = self.jobs.values_mut();
                jobs.for_each(|job| job.next_attempt_at = job.creation_time);
            }
            _ => {}
        }
    }
}

#[derive(Debug)]
struct Planted {
    defect: Defect,
    clock: StoreClock,
    raw_clock: ManualClock,
    disk: Arc<Mutex<Disk>>,
    /// The jobs that this handle has read since it last wrote.
    seen: Mutex<BTreeMap<JobId, Job>>,
    told: Told,
}

impl Planted {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no panic")
    }

    /// The disk, about to be written to.
    fn writing(&self) -> MutexGuard<'_, Disk> {
        self.seen.lock().expect("no panic").clear();
        let mut disk = self.disk();
        if disk.has(Defect::LastWriteIsNotFlushed) {
            disk.before_last_write = disk.jobs.clone();
        }
        disk
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn create(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        if self.has(Defect::OverlongNamesAreCut) {
            for job in &mut jobs {
                let end = job.job_name.char_indices().nth(500);
                job.job_name
                    .truncate(end.map_or(job.job_name.len(), |(end, _)| end));
            }
        }
        if self.has(Defect::BatchesMayBeAnySize) {
            for part in jobs.chunks(validate::MAX_ITEMS) {
                validate::new_jobs(part)?;
            }
        } else {
            validate::new_jobs(&jobs)?;
        }
        if self.has(Defect::DroppedBatchesAreHalfWritten) {
            let mut creations = Vec::new();
            for job in jobs {
                creations.extend(self.writing().create(vec![job], self.now())?);
                yield_now().await;
            }
            return Ok(creations);
        }
        if self.has(Defect::CreatorsRaceForAKey) {
            let found = self.disk().holders_of(&jobs);
            yield_now().await;
            let now = self.now();
            return self.writing().create_unless(jobs, found, now);
        }
        if self.has(Defect::HoldersAreReadAndThenTrusted) {
            let found = self.disk().holders_of(&jobs);
            yield_now().await;
            let now = self.now();
            // Against another creator the table has a constraint.
            return match found.iter().any(Option::is_some) {
                true => self.writing().create_unless(jobs, found, now),
                false => self.writing().create(jobs, now),
            };
        }
        if self.has(Defect::HoldersAreShownAsRead) {
            let before = self.disk().jobs.clone();
            yield_now().await;
            let now = self.now();
            let mut creations = self.writing().create(jobs, now)?;
            for creation in &mut creations {
                if let Creation::Existing(job) = creation
                    && let Some(read) = before.get(&job.id)
                {
                    job.clone_from(read);
                }
            }
            return Ok(creations);
        }
        let mut disk = self.writing();
        let now = self.now();
        disk.create(jobs, now)
    }

    async fn update(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        if !self.has(Defect::ZeroLeasesAreTaken) {
            validate::updates(&updates)?;
        }
        let races = |update: &Update| match self.defect {
            Defect::RetriesAreReadAndThenWritten => {
                matches!(update.action, Action::RetryOrFail { .. })
            }
            Defect::StartsAreReadAndThenWritten => matches!(update.action, Action::Start { .. }),
            Defect::OutcomesAreReadAndThenWritten => {
                matches!(update.action, Action::Finish { .. } | Action::Fail { .. })
            }
            _ => false,
        };
        if self.has(Defect::UpdatesAreDatedBeforeTheirTurn) {
            let now = self.now();
            yield_now().await;
            return Ok(self.writing().update_all(&updates, now));
        }
        if let [update] = &updates[..]
            && self.has(Defect::ResetsRaceForAKey)
            && matches!(update.action, Action::Reset)
        {
            let held = self.disk().key_is_held(update.target.id());
            yield_now().await;
            let now = self.now();
            return Ok(vec![match held {
                Some(id) => Err(Error::AlreadyExists { id }),
                None => self.writing().update_all(&updates, now).remove(0),
            }]);
        }
        if updates.len() == 1 && races(&updates[0]) {
            let read = self.disk().jobs.get(&updates[0].target.id()).cloned();
            yield_now().await;
            let now = self.now();
            let mut disk = self.writing();
            return Ok(vec![disk.update_as_read(&updates[0], read, now)]);
        }
        // The time is that of its turn.
        let mut disk = self.writing();
        let now = self.now();
        Ok(disk.update_all(&updates, now))
    }
}

#[async_trait]
impl JobStore for Planted {
    fn now(&self) -> Timestamp {
        match self.defect {
            Defect::TheClockIsFollowedBack => self.raw_clock.now(),
            Defect::TimesAreKeptInSeconds => {
                Timestamp::from_millis(self.clock.now().as_millis().div_euclid(1_000) * 1_000)
            }
            _ => self.clock.now(),
        }
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        self.told.before().await;
        let created = self.create(jobs).await?;
        let new = created.iter().filter(|creation| creation.is_new());
        self.told.after_create(new.map(Creation::job));
        Ok(created)
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        validate::ids(ids)?;
        let mut ids = ids.to_vec();
        match self.defect {
            Defect::GetSortsItsAnswers => ids.sort_unstable(),
            Defect::GetDropsRepeatedIds => ids.dedup(),
            _ => {}
        }
        let disk = self.disk();
        let mut seen = self.seen.lock().expect("no panic");
        let jobs = ids.iter().map(|id| match self.defect {
            Defect::AHandleKeepsWhatItRead => match seen.get(id) {
                Some(job) => Some(job.clone()),
                None => {
                    let job = disk.jobs.get(id).cloned();
                    seen.extend(job.clone().map(|job| (*id, job)));
                    job
                }
            },
            _ => disk.jobs.get(id).cloned(),
        });
        if self.has(Defect::GetSkipsWhatIsMissing) {
            return Ok(jobs.filter(Option::is_some).collect());
        }
        Ok(jobs.collect())
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        self.disk().list(filter, page)
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        self.disk().count(filter)
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        validate::claim(request)?;
        if self.has(Defect::ClaimsAreReadAndThenWritten) {
            let now = self.now();
            let jobs = self.disk().chosen(request, now);
            yield_now().await;
            return Ok(self.writing().take(jobs, request, now));
        }
        let mut disk = self.writing();
        let now = self.now();
        let jobs = disk.chosen(request, now);
        Ok(disk.take(jobs, request, now))
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        let updated = self.update(updates).await?;
        self.told.after_update(updated.iter().flatten());
        Ok(updated)
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        request.validate()?;
        if self.has(Defect::DeletionsByAgeAreReadAndThenWritten)
            && matches!(request, DeleteRequest::Before { .. })
        {
            let before = self.disk().jobs.clone();
            let ids = self.writing().delete(request);
            // As if nothing had been done yet, but chosen.
            self.disk().jobs = before;
            yield_now().await;
            let mut disk = self.writing();
            disk.jobs.retain(|id, _| !ids.contains(id));
            return Ok(ids);
        }
        Ok(self.writing().delete(request))
    }

    fn arrivals(&self) -> Arrivals {
        self.told.listen()
    }
}
