//! What creating, claiming and updating do, and what the defects make of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use jobstore_core::{
    Action, ActionKind, Applied, ClaimRequest, Creation, Error, Job, JobId, JobStatus, NewJob,
    Result, Target, Timestamp, Update, claimed,
};

use crate::defect::Defect;
use crate::read::folded;
use crate::store::Disk;

/// Name and unique key.
type Key = (String, String);

fn key_of(job: &NewJob) -> Option<Key> {
    Some((job.job_name.clone(), job.unique_key.clone()?))
}

impl Disk {
    /// The unfinished job that holds this key.
    fn holder(&self, (name, key): &Key) -> Option<JobId> {
        if self.has(Defect::AKeyIsNeverFreed) {
            return self.keys.get(&(name.clone(), key.clone())).copied();
        }
        let holds = |job: &&Job| {
            let same_name = job.job_name == *name || self.has(Defect::AKeyIsOneForAllNames);
            let same_key = match self.defect {
                Defect::KeysIgnoreCase => {
                    let stored = job.unique_key.as_ref().map(|key| key.to_lowercase());
                    stored == Some(key.to_lowercase())
                }
                _ => job.unique_key.as_ref() == Some(key),
            };
            let holding = match (self.defect, job.status) {
                (Defect::ARunningJobFreesItsKey, JobStatus::Running) => false,
                (Defect::AWaitingRetryFreesItsKey, JobStatus::Pending) => job.retry_count == 0,
                (_, status) => !status.is_finalized(),
            };
            same_name && same_key && holding
        };
        self.jobs.values().find(holds).map(|job| job.id)
    }

    /// Who else holds the key of a job.
    pub(crate) fn key_is_held(&self, id: JobId) -> Option<JobId> {
        let job = self.jobs.get(&id)?;
        let holder = self.holder(&(job.job_name.clone(), job.unique_key.clone()?))?;
        (holder != id).then_some(holder)
    }

    pub(crate) fn holders_of(&self, jobs: &[NewJob]) -> Vec<Option<JobId>> {
        let holder = |job: &NewJob| key_of(job).and_then(|key| self.holder(&key));
        jobs.iter().map(holder).collect()
    }

    pub(crate) fn create(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Creation>> {
        let before = self.jobs.clone();
        let in_a_batch = jobs.len() > 1;
        let mut creations: Vec<Creation> = Vec::new();
        for job in jobs {
            let key = key_of(&job);
            let id = job.id;
            let holder = match &key {
                Some(key) if !self.id_comes_first(id) => self.holder(key),
                _ => None,
            };
            if let Some(holder) = holder.and_then(|id| self.jobs.get(&id)) {
                creations.push(match self.defect {
                    Defect::FoundJobsAreCalledNew => Creation::Created(holder.clone()),
                    _ => Creation::Existing(holder.clone()),
                });
                continue;
            }
            let job = self.stored(job, now, in_a_batch);
            if let Some(known) = self.jobs.get(&job.id) {
                match self.defect {
                    Defect::AKnownIdIsSilentlyKept => {
                        creations.push(Creation::Existing(known.clone()));
                        continue;
                    }
                    Defect::AKnownIdIsOverwritten => {}
                    Defect::AnIdTwiceInABatchIsOverlooked
                        if creations.iter().any(|done| done.job().id == job.id) =>
                    {
                        creations.push(Creation::Existing(known.clone()));
                        continue;
                    }
                    _ => {
                        if !self.has(Defect::ARefusedBatchIsHalfWritten) {
                            self.jobs = before;
                        }
                        if self.has(Defect::ARefusedBatchTakesWhatItFound) {
                            let done = creations.iter().map(|creation| creation.job().id);
                            done.for_each(|id| _ = self.jobs.remove(&id));
                        }
                        return Err(Error::AlreadyExists { id: job.id });
                    }
                }
            }
            if let Some(key) = key {
                self.keys.insert(key, job.id);
            }
            self.jobs.insert(job.id, job.clone());
            creations.push(Creation::Created(job));
        }
        if self.has(Defect::CreationsAreSortedByPriority) {
            creations.sort_by_key(|creation| creation.job().priority);
        }
        Ok(creations)
    }

    /// As if the holders of the keys were still those found before.
    pub(crate) fn create_unless(
        &mut self,
        jobs: Vec<NewJob>,
        found: Vec<Option<JobId>>,
        now: Timestamp,
    ) -> Result<Vec<Creation>> {
        let mut creations = Vec::new();
        for (job, holder) in jobs.into_iter().zip(found) {
            let holder = holder.and_then(|id| self.jobs.get(&id));
            if let Some(holder) = holder {
                creations.push(Creation::Existing(holder.clone()));
                continue;
            }
            let job = job.into_job(now);
            self.jobs.insert(job.id, job.clone());
            creations.push(Creation::Created(job));
        }
        Ok(creations)
    }

    fn id_comes_first(&self, id: Option<JobId>) -> bool {
        let known = id.is_some_and(|id| self.jobs.contains_key(&id));
        known && self.has(Defect::TheIdIsLookedAtBeforeTheKey)
    }

    /// The job as it is written.
    fn stored(&self, new: NewJob, now: Timestamp, in_a_batch: bool) -> Job {
        let given = new.id.is_some();
        let mut job = new.into_job(now);
        match self.defect {
            Defect::NamesIgnoreCase => job.job_name = job.job_name.to_lowercase(),
            Defect::NamesLoseTrailingSpaces => {
                job.job_name = job.job_name.trim_end_matches(' ').to_owned();
            }
            Defect::ParamsAreTrimmed => job.params = job.params.as_str().trim().into(),
            Defect::TimeoutsAreCutToMilliseconds => {
                let cut = |timeout: Duration| {
                    Duration::from_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
                };
                job.timeout = job.timeout.map(cut);
            }
            Defect::BatchesLoseTheRetryLimit if in_a_batch => job.max_retries = None,
            Defect::AbsentLimitsBecomeZero => {
                job.max_retries = Some(job.max_retries.unwrap_or_default());
            }
            Defect::PrioritiesHaveEightBits => {
                job.priority = job.priority.clamp(i16::from(i8::MIN), i16::from(i8::MAX));
            }
            Defect::DueTimesStartAtTheEpoch => {
                job.next_attempt_at = job.next_attempt_at.max(Timestamp::default());
            }
            Defect::MadeIdsAreRandom if !given => {
                // Any bijection that is not monotone will do.
                let mut bytes = *job.id.as_uuid().as_bytes();
                bytes.reverse();
                job.id = JobId::from_uuid(uuid::Uuid::from_bytes(bytes));
            }
            _ => {}
        }
        job
    }

    /// The jobs to claim, in order.
    pub(crate) fn chosen(&mut self, request: &ClaimRequest, now: Timestamp) -> Vec<Job> {
        let names = &request.job_names;
        let limit = request.limit as usize;
        let named = |job: &&Job| match self.defect {
            Defect::NoNamesMeanNone => names.contains(&job.job_name),
            Defect::ClaimsIgnoreTheCaseOfNames if !names.is_empty() => names
                .iter()
                .any(|name| folded(name) == folded(&job.job_name)),
            Defect::ManyNamesAreCut => {
                let names = &names[..names.len().min(500)];
                names.is_empty() || names.contains(&job.job_name)
            }
            _ => names.is_empty() || names.contains(&job.job_name),
        };
        let due = |job: &&Job| match self.defect {
            Defect::DueTimesAreExclusive => job.is_claimable(now) && job.next_attempt_at < now,
            Defect::DueTimesAreIgnored => job.status == JobStatus::Pending,
            Defect::TheLimitIsTakenBeforeTheDueTime => job.status == JobStatus::Pending,
            Defect::ExpiredLeasesAreClaimed => job.is_claimable(now) || job.is_lease_expired(now),
            _ => job.is_claimable(now),
        };
        let jobs = self.jobs.values().filter(named).filter(due);
        let mut jobs: Vec<Job> = jobs.cloned().collect();
        match self.defect {
            Defect::LowPrioritiesGoFirst => {
                jobs.sort_by_key(|job| (job.priority, job.next_attempt_at, job.id));
            }
            Defect::DueTimesDoNotOrderClaims => {
                jobs.sort_by_key(|job| (Reverse(job.priority), job.id));
            }
            Defect::TiesGoToTheNewest => jobs
                .sort_by_key(|job| (Reverse(job.priority), job.next_attempt_at, Reverse(job.id))),
            Defect::NamesAreClaimedOneAfterAnother => {
                jobs.sort_by_key(|job| (job.job_name.clone(), job.claim_order()));
            }
            Defect::TiesGoByCreation => jobs.sort_by_key(|job| {
                let (priority, due, id) = job.claim_order();
                (priority, due, job.creation_time, id)
            }),
            _ => jobs.sort_by_key(Job::claim_order),
        }
        if self.has(Defect::OnePriorityIsJumpedOver) {
            let late = self
                .jobs
                .values()
                .filter(named)
                .filter(|job| job.status == JobStatus::Pending && !job.is_claimable(now));
            let late: BTreeSet<_> = late.map(|job| Reverse(job.priority)).collect();
            if let Some(last) = late.iter().nth(1) {
                jobs.retain(|job| Reverse(job.priority) <= *last);
            }
        }
        let more = usize::from(self.has(Defect::ClaimsTakeOneTooMany) && limit < 1_000);
        jobs.truncate(limit + more);
        if self.has(Defect::TheLimitIsTakenBeforeTheDueTime) {
            jobs.retain(|job| job.is_claimable(now));
        }
        if self.has(Defect::ClaimsComeUnordered) {
            jobs.reverse();
        }
        if self.has(Defect::AClaimedJobIsHandedOutAgain) && jobs.is_empty() {
            jobs.extend(self.last_claimed.take());
        }
        jobs
    }

    pub(crate) fn take(
        &mut self,
        jobs: Vec<Job>,
        request: &ClaimRequest,
        now: Timestamp,
    ) -> Vec<Job> {
        let mut taken = Vec::new();
        for job in jobs {
            let mut next = claimed(&job, &request.lease, now);
            match self.defect {
                Defect::ClaimsDoNotRaiseTheFence => next.fence = job.fence.max(1),
                Defect::LeasesCountFromCreation => {
                    let end = job.creation_time.saturating_add(request.lease.duration);
                    next.lease_expires_at = Some(end);
                }
                _ => {}
            }
            self.jobs.insert(next.id, next.clone());
            self.last_claimed = Some(job);
            taken.push(next);
        }
        if self.has(Defect::ClaimsReturnTheOldFence) {
            taken.iter_mut().for_each(|job| job.fence -= 1);
        }
        taken
    }

    pub(crate) fn update_all(&mut self, updates: &[Update], now: Timestamp) -> Vec<Result<Job>> {
        let read = self.jobs.clone();
        let mut verdicts: Vec<Result<Job>> = Vec::new();
        for update in updates {
            let verdict = match self.defect {
                Defect::ABatchEndsAtTheFirstRefusal
                    if verdicts.iter().any(|verdict| verdict.is_err()) =>
                {
                    let id = update.target.id();
                    self.jobs.get(&id).cloned().ok_or(Error::NotFound { id })
                }
                Defect::ABatchReadsEachJobOnce => {
                    let job = read.get(&update.target.id()).cloned();
                    self.update_as_read(update, job, now)
                }
                _ => self.update(update, now),
            };
            if self.has(Defect::ARefusedKeyTakesBackItsBatch)
                && matches!(verdict, Err(Error::AlreadyExists { .. }))
            {
                self.jobs.clone_from(&read);
            }
            verdicts.push(verdict);
        }
        if self.has(Defect::VerdictsAreReversed) {
            verdicts.reverse();
        }
        verdicts
    }

    fn update(&mut self, update: &Update, now: Timestamp) -> Result<Job> {
        let job = self.jobs.get(&update.target.id()).cloned();
        self.update_as_read(update, job, now)
    }

    /// Applies an update to the job as it was read.
    pub(crate) fn update_as_read(
        &mut self,
        update: &Update,
        read: Option<Job>,
        now: Timestamp,
    ) -> Result<Job> {
        let id = update.target.id();
        let job = read.ok_or(Error::NotFound { id })?;
        let bent = self.bent(update, &job, now);
        let mut next = match bent.apply(&job, now) {
            Ok(Applied::Changed(next)) => next,
            Ok(Applied::Repeated) => return self.repeated(update, job, now),
            Err(refused) => return self.refused(update, job, now, refused),
        };
        self.misremember(update, &job, &mut next, now);
        let key = next.held_unique_key();
        let key = key.map(|(name, key)| (name.to_owned(), key.to_owned()));
        let holder = key.and_then(|key| self.holder(&key));
        let collides = match self.defect {
            Defect::AResetStealsAKey | Defect::ResetsRaceForAKey => false,
            Defect::AJobCollidesWithItself => {
                holder.is_some() && update.action.kind() == ActionKind::Reset
            }
            _ => holder.is_some_and(|holder| holder != id),
        };
        if let Some(holder) = holder.filter(|_| collides) {
            return Err(Error::AlreadyExists { id: holder });
        }
        self.jobs.insert(id, next.clone());
        Ok(next)
    }

    /// The update as a defect takes it.
    fn bent(&self, update: &Update, job: &Job, now: Timestamp) -> Update {
        let mut update = update.clone();
        let truncated = |fence: u64| fence as u32;
        if let Target::Claim(claim) = &update.target {
            let accepted = match self.defect {
                Defect::TheFenceIsNotChecked => true,
                Defect::AFenceToComeIsAccepted => claim.fence > job.fence,
                Defect::FencesAreComparedAsIntegers32 => {
                    job.fence > 0 && truncated(claim.fence) == u32::MAX
                }
                Defect::AnyOutcomeIsARepetition => {
                    claim.fence == job.fence && job.fence > 0 && job.status.is_finalized()
                }
                _ => false,
            };
            if accepted {
                update.target = Target::Id(job.id);
            }
        }
        match (self.defect, &mut update.action) {
            (Defect::EmptyResultsBecomeNone, Action::Finish { result }) => {
                *result = result.take().filter(|result| !result.is_empty());
            }
            (Defect::RecoverySpendsNoRetry, Action::Recover { .. })
                if job.is_lease_expired(now) =>
            {
                update.action = Action::Reset;
            }
            (Defect::RecoveryIgnoresARenewal, Action::Recover { policy }) => {
                let (error, policy) = ("lease expired".to_owned(), *policy);
                update.action = Action::RetryOrFail { error, policy };
            }
            (Defect::RetriesGoOnForOneMore, Action::RetryOrFail { policy, .. }) => {
                policy.max_retries += 1;
            }
            (Defect::TheFirstWaitIsDoubledAlready, Action::RetryOrFail { policy, .. }) => {
                policy.base = policy.base.saturating_mul(2);
            }
            (Defect::TheWaitHasNoLimit, Action::RetryOrFail { policy, .. }) => {
                policy.max = Duration::MAX;
            }
            _ => {}
        }
        update
    }

    fn repeated(&mut self, update: &Update, job: Job, now: Timestamp) -> Result<Job> {
        match self.defect {
            Defect::ARepetitionIsALostLease => Err(Error::LeaseLost { id: job.id }),
            Defect::ARepetitionIsDatedAnew => {
                let again = Job {
                    last_update_time: now,
                    ..job
                };
                self.jobs.insert(again.id, again.clone());
                Ok(again)
            }
            Defect::ARepeatedRetryCountsAgain if job.status == JobStatus::Pending => {
                let again = Job {
                    retry_count: job.retry_count
                        + u32::from(update.action.kind() == ActionKind::RetryOrFail),
                    ..job
                };
                self.jobs.insert(again.id, again.clone());
                Ok(again)
            }
            _ => Ok(job),
        }
    }

    fn refused(
        &mut self,
        update: &Update,
        job: Job,
        now: Timestamp,
        refused: Error,
    ) -> Result<Job> {
        let id = job.id;
        let late = matches!(refused, Error::InvalidTransition { .. });
        match self.defect {
            Defect::RefusalsAreSilent if late => return Ok(job),
            Defect::RefusalsAreDated => {
                let dated = Job {
                    last_update_time: now,
                    ..job
                };
                self.jobs.insert(id, dated);
            }
            Defect::AFinishOverwritesAnOutcome
                if late && update.action.kind() == ActionKind::Finish =>
            {
                let pending = Job {
                    status: JobStatus::Pending,
                    ..job
                };
                return self.update_as_read(update, Some(pending), now);
            }
            Defect::RecoveryOverwritesAFinish
                if update.action.kind() == ActionKind::Recover && job.fence > 0 =>
            {
                let running = Job {
                    status: JobStatus::Running,
                    lease_expires_at: Some(now),
                    ..job
                };
                let update = Update::new(id, update.action.clone());
                return self.update_as_read(&update, Some(running), now);
            }
            Defect::LeasesEndAMillisecondEarly
                if late && job.is_lease_expired(now.saturating_add(Duration::from_millis(1))) =>
            {
                let later = now.saturating_add(Duration::from_millis(1));
                if let Ok(Applied::Changed(next)) = update.apply(&job, later) {
                    self.jobs.insert(id, next.clone());
                    return Ok(next);
                }
            }
            Defect::RefusalsNameAnotherStatus => {
                if let Error::InvalidTransition { id, action, .. } = refused {
                    let status = JobStatus::Pending;
                    return Err(Error::InvalidTransition { id, status, action });
                }
            }
            _ => {}
        }
        Err(refused)
    }

    /// What a defect writes instead of the job that comes of an update.
    fn misremember(&self, update: &Update, job: &Job, next: &mut Job, now: Timestamp) {
        let kind = update.action.kind();
        let retried = next.retry_count > job.retry_count;
        match self.defect {
            Defect::AResetRestartsTheFence if kind == ActionKind::Reset => next.fence = 0,
            Defect::ARetryDropsItsError if retried => next.last_error.clone_from(&job.last_error),
            Defect::ARetryDoesNotWait if retried => next.next_attempt_at = now,
            Defect::ASpentRetryIsNotDated if kind == ActionKind::RetryOrFail && !retried => {
                next.last_update_time = job.last_update_time;
            }
            Defect::TheJobsOwnLimitIsIgnored if kind == ActionKind::RetryOrFail => {
                let without = Job {
                    max_retries: None,
                    ..job.clone()
                };
                if let Ok(Applied::Changed(other)) = update.apply(&without, now) {
                    *next = Job {
                        max_retries: job.max_retries,
                        ..other
                    };
                }
            }
            Defect::AFinishKeepsTheLease if kind == ActionKind::Finish => {
                next.lease_owner.clone_from(&job.lease_owner);
            }
            Defect::RecoveryKeepsTheLease if kind == ActionKind::Recover => {
                next.lease_owner.clone_from(&job.lease_owner);
                next.lease_expires_at = job.lease_expires_at;
            }
            Defect::RecoverySaysNoReason if kind == ActionKind::Recover => {
                next.last_error.clone_from(&job.last_error);
            }
            Defect::ARenewalAddsToTheOldEnd => {
                if let (Action::Renew { lease }, Some(end)) = (&update.action, job.lease_expires_at)
                {
                    next.lease_expires_at = Some(end.saturating_add(*lease));
                }
            }
            Defect::ARenewalNeverShortens if kind == ActionKind::Renew => {
                next.lease_expires_at = next.lease_expires_at.max(job.lease_expires_at);
            }
            Defect::AResetForgetsTheLastError if kind == ActionKind::Reset => {
                next.last_error = None;
            }
            Defect::AResetRefundsTheRetries if kind == ActionKind::Reset => next.retry_count = 0,
            Defect::AResetKeepsTheDueTime if kind == ActionKind::Reset => {
                next.next_attempt_at = job.next_attempt_at;
            }
            Defect::AResetKeepsTheResult if kind == ActionKind::Reset => {
                next.result.clone_from(&job.result);
            }
            Defect::ASuccessForgetsTheLastError if kind == ActionKind::Finish => {
                next.last_error = None;
            }
            Defect::AStartNeedsNoFence if kind == ActionKind::Start => next.fence = job.fence,
            Defect::FencesHaveSixteenBits => next.fence = next.fence.min(32_767),
            Defect::LeasesEndWithTheYear9999 => {
                let last = Timestamp::from_millis(253_402_300_799_999);
                next.lease_expires_at = next.lease_expires_at.map(|end| end.min(last));
            }
            _ => {}
        }
    }
}
