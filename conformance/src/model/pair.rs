//! A store and the model, led through a program side by side.

use std::sync::Arc;

use jobstore_core::{
    Action, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, JobStore, JobStoreExt as _,
    Order, PageRequest, Timestamp, Update,
};

use super::call::{Call, Reply};
use super::op::{self, NAMES, Op, PARAMS};
use super::sometimes::{Sight, Sometimes};
use super::step::{Step, Trouble};
use super::world::Worlds;
use crate::cx::Pages;
use crate::failure::{CaseResult, Failure, check, check_eq, same, same_all};
use crate::{Cx, FaultStore, Harness};

/// Of the filters, so many are compared after each step, in turn; at the end of a program, all.
const FILTERS_AT_ONCE: usize = 2;

/// A store and the model of it.
pub(super) struct Pair {
    cx: Cx,
    worlds: Worlds,
    /// The second handle, where there may be one.
    other: Option<Arc<dyn JobStore>>,
    /// The latest time that each handle has shown.
    latest: [Timestamp; 2],
    latest_of_all: Timestamp,
    shared: bool,
    durable: bool,
    /// How many filters were compared.
    turn: usize,
    pub(super) seen: Sometimes,
}

/// Which handle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Via {
    First = 0,
    Other = 1,
}

impl Pair {
    pub(super) async fn new(harness: &dyn Harness) -> CaseResult<Self> {
        let capabilities = harness.capabilities();
        Ok(Self {
            cx: Cx::new(harness).await?,
            worlds: Worlds::new(),
            other: None,
            latest: [Timestamp::MIN; 2],
            latest_of_all: Timestamp::MIN,
            shared: capabilities.shared,
            durable: capabilities.durable,
            turn: 0,
            seen: Sometimes::default(),
        })
    }

    /// Does the same to both, compares what they say, and then what can be read.
    pub(super) async fn step(&mut self, step: &Step) -> CaseResult {
        let (via, trouble) = match step {
            Step::Do(_) => (Via::First, None),
            Step::Other(_) if self.shared => (Via::Other, None),
            Step::Other(_) => (Via::First, None),
            Step::Fails(trouble, _) => (Via::First, Some(*trouble)),
        };
        self.take(via, step.op(), trouble).await?;
        let now = self.time(via).await?;
        self.agree(via).await?;
        for _ in 0..FILTERS_AT_ONCE {
            self.agree_on(via, &filter(self.turn % FILTERS, now))
                .await?;
            self.turn += 1;
        }
        Ok(())
    }

    /// Compares every reading at the end of a program, and last the order of claiming.
    pub(super) async fn end(&mut self) -> CaseResult {
        let now = self.time(Via::First).await?;
        for filter in (0..FILTERS).map(|number| filter(number, now)) {
            self.agree_on(Via::First, &filter).await?;
            for (size, order) in [(2, Order::Ascending), (3, Order::Descending)] {
                self.walk(Via::First, &filter, size, order).await?;
            }
        }
        // Everything that is due, a few at a time.
        loop {
            let call = Call::Claim(op::claim_request(&[], 2, 0));
            let reply = call.make(&*self.cx.store()).await?;
            self.answered(&call, &reply, now)?;
            if matches!(&reply, Reply::Claimed(jobs) if jobs.is_empty()) {
                return self.agree(Via::First).await;
            }
        }
    }

    async fn store(&mut self, via: Via) -> CaseResult<Arc<dyn JobStore>> {
        match (via, &self.other) {
            (Via::First, _) => Ok(self.cx.store()),
            (Via::Other, Some(other)) => Ok(Arc::clone(other)),
            (Via::Other, None) => {
                let other = self.cx.open_another().await?;
                self.other = Some(Arc::clone(&other));
                Ok(other)
            }
        }
    }

    /// The time that a handle shows, which must be right.
    async fn time(&mut self, via: Via) -> CaseResult<Timestamp> {
        let now = self.store(via).await?.now();
        let clock = self.cx.now();
        let earliest = self.latest[via as usize].max(clock);
        // Handles may keep their times apart or in common.
        let latest = self.latest_of_all.max(clock);
        check!(
            (earliest..=latest).contains(&now),
            "a time from {earliest} to {latest}, not {now}"
        );
        self.latest_of_all = latest;
        self.latest[via as usize] = now;
        self.worlds.tick(now);
        Ok(now)
    }

    async fn take(&mut self, via: Via, op: &Op, trouble: Option<Trouble>) -> CaseResult {
        let now = self.time(via).await?;
        let jobs = self.worlds.likely();
        let pick = |pick: &u8| jobs.pick(*pick).id;
        let call = match op {
            Op::Create(new) => Call::Create(new.iter().map(|new| new.build(now)).collect()),
            Op::Claim {
                names,
                limit,
                lease,
            } => Call::Claim(op::claim_request(names, *limit, *lease)),
            Op::Update(changes) => {
                let updates = changes.iter();
                let updates = updates.map(|change| change.build(jobs.pick_to_change(change.job)));
                Call::Update(updates.collect())
            }
            Op::Delete(picks) => {
                let ids = picks.iter().map(pick).collect();
                Call::Delete(DeleteRequest::Ids(ids))
            }
            Op::Purge {
                age,
                names,
                statuses,
                limit,
            } => {
                let cutoff = self.cx.at(-i64::from(*age));
                Call::Delete(op::purge_request(cutoff, names, statuses, *limit))
            }
            Op::List {
                filter,
                size,
                descending,
            } => {
                let filter = filter.build(now, |number| pick(&number));
                let size = u32::from(*size % 5) + 1;
                let order = match descending {
                    false => Order::Ascending,
                    true => Order::Descending,
                };
                self.walk(via, &filter, size, order).await?;
                return self.agree_on(via, &filter).await;
            }
            Op::RecoverAll { policy } => return self.recover_all(via, *policy, now).await,
            Op::Advance(millis) => {
                self.cx.set_clock(self.cx.at(i64::from(*millis)));
                return Ok(());
            }
            Op::Back(millis) => {
                self.cx.set_clock(self.cx.at(-i64::from(*millis)));
                return Ok(());
            }
            Op::Reopen => return self.reopen().await,
        };
        match trouble {
            Some(trouble) => self.call_in_trouble(call.foreseeable(), trouble, now).await,
            None => self.call(via, &call, now).await,
        }
    }

    async fn call(&mut self, via: Via, call: &Call, now: Timestamp) -> CaseResult {
        let reply = call.make(&*self.store(via).await?).await?;
        self.answered(call, &reply, now)
    }

    fn answered(&mut self, call: &Call, reply: &Reply, now: Timestamp) -> CaseResult {
        self.seen.saw_reply(call, reply);
        if let Call::Update(updates) = call {
            let repeated = self.worlds.likely().repeated(updates, now);
            (0..repeated).for_each(|_| self.seen.saw(Sight::Repetition));
        }
        if let (Call::Claim(request), Reply::Claimed(got)) = (call, reply)
            && self.worlds.are_unsettled()
        {
            return self
                .worlds
                .explain(|jobs| same_all(got, &jobs.claim_beside(request, got, now)?));
        }
        self.worlds.explain(|jobs| call.compare(reply, jobs, now))
    }

    /// Makes a call that fails, and then, as a client would, the same again.
    async fn call_in_trouble(
        &mut self,
        call: Call,
        trouble: Trouble,
        now: Timestamp,
    ) -> CaseResult {
        let dropped = matches!(trouble, Trouble::DroppedAt(_));
        // Of two calls that may still happen, neither says anything about the other. What a claim took
        // that was dropped cannot be foreseen, since the one after it may come first: histories
        // look for that.
        let unforeseen = self.worlds.are_unsettled() || matches!(call, Call::Claim(_));
        if !(dropped && unforeseen) {
            let store = FaultStore::new(self.cx.store());
            store.arm(0, trouble.into());
            let reply = tokio::select! {
                biased;
                reply = call.make(&store) => Some(reply),
                () = store.hung() => None,
            };
            match reply {
                // It was done before it could be dropped.
                Some(Ok(reply)) => return self.answered(&call, &reply, now),
                Some(Err(Error::Unavailable { .. })) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            self.seen.saw(Sight::AmbiguousOutcome);
            match trouble {
                Trouble::NotSent => {}
                Trouble::ReplyLost | Trouble::Hangs => self.worlds.explain(|jobs| {
                    call.carry_out(jobs, now);
                    Ok(())
                })?,
                Trouble::DroppedAt(_) => self.worlds.unsettle(call.clone(), now),
            }
        }
        self.call(Via::First, &call, now).await
    }

    async fn recover_all(&mut self, via: Via, policy: u8, now: Timestamp) -> CaseResult {
        let policy = op::policy(policy);
        let store = self.store(via).await?;
        if self.worlds.are_unsettled() {
            // Something may happen between the two calls of a recovery, so each is compared alone.
            let filter = JobFilter {
                lease_expired_by: Some(now),
                ..JobFilter::default()
            };
            let expired = store.list_jobs(&filter, &PageRequest::default()).await?;
            self.worlds
                .explain(|jobs| same_all(&expired, jobs.list(&filter, Order::Ascending)?))?;
            let recover = |job: &Job| Update::new(job.claim(), Action::Recover { policy });
            let call = Call::Update(expired.iter().map(recover).collect());
            return self.call(via, &call, now).await;
        }
        let mut got = store.recover_expired(&[], policy).await?;
        got.sort_by_key(Job::list_order);
        for _ in &got {
            self.seen.saw(Sight::ExpiredLease);
        }
        self.worlds
            .explain(|jobs| same_all(&got, &jobs.recover(policy, now)))
    }

    async fn reopen(&mut self) -> CaseResult {
        self.other = None;
        self.latest[Via::Other as usize] = Timestamp::MIN;
        if self.durable {
            // Time may go back from one handle to the next; nothing is promised there.
            self.latest[Via::First as usize] = Timestamp::MIN;
            self.cx.reopen().await?;
        }
        Ok(())
    }

    /// Compares every job, read in each way.
    async fn agree(&mut self, via: Via) -> CaseResult {
        self.agree_on(via, &JobFilter::default()).await?;
        let store = self.store(via).await?;
        let ids: Vec<JobId> = self.worlds.likely().ids().collect();
        for ids in ids.chunks(1_000) {
            let got = store.get_jobs(ids).await?;
            check_eq!(got.len(), ids.len(), "answers of get_jobs");
            self.worlds.explain(|jobs| {
                for (id, got) in ids.iter().zip(&got) {
                    match (got, jobs.get(id)) {
                        (Some(got), Some(expected)) => same(got, expected)?,
                        (got, expected) => {
                            check_eq!(got.is_some(), expected.is_some(), "whether job {id} exists");
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Compares the listing and the count under a filter.
    async fn agree_on(&mut self, via: Via, filter: &JobFilter) -> CaseResult {
        let store = self.store(via).await?;
        let when = |failure: Failure| failure.when(format!("filter {filter:?}"));
        let page = PageRequest::default().with_size(1_000);
        let got = store.list_jobs(filter, &page).await?;
        let explain = self
            .worlds
            .explain(|jobs| same_all(&got, jobs.list(filter, Order::Ascending)?));
        explain.map_err(when)?;
        let got = store.count_jobs(filter).await?;
        let explain = self.worlds.explain(|jobs| {
            check_eq!(got, jobs.count(filter)?);
            Ok(())
        });
        explain.map_err(when)
    }

    /// Compares a walk over pages.
    async fn walk(&mut self, via: Via, filter: &JobFilter, size: u32, order: Order) -> CaseResult {
        let store = self.store(via).await?;
        let page = PageRequest::default().with_size(size).with_order(order);
        if self.worlds.are_unsettled() {
            // A job may come between two pages, so only the first is one reading.
            let got = store.list_jobs(filter, &page).await?;
            return self.worlds.explain(|jobs| {
                let mut expected = jobs.list(filter, order)?;
                expected.truncate(size as usize);
                same_all(&got, expected)
            });
        }
        let got = Pages::new(store, filter, size, order).all().await?;
        if !got.is_empty() && got.len() % size as usize == 0 {
            self.seen.saw(Sight::FullPage);
        }
        let explain = self
            .worlds
            .explain(|jobs| same_all(&got, jobs.list(filter, order)?));
        explain.map_err(|failure| failure.when(format!("filter {filter:?}, pages of {size}")))
    }
}

/// How many filters there are that ask each index something.
const FILTERS: usize = 19;

/// One of them.
fn filter(number: usize, now: Timestamp) -> JobFilter {
    let any = JobFilter::default();
    let a_while_ago = Timestamp::from_millis(now.as_millis() - 20);
    match number {
        0..6 => any.with_statuses([JobStatus::ALL[number]]),
        6..9 => any.with_job_name(NAMES[number - 6]),
        9..13 => any.with_params(PARAMS[number - 9]),
        13 => any.with_statuses([JobStatus::Pending, JobStatus::Failed]),
        14 => any
            .with_job_name(NAMES[0])
            .with_job_name(NAMES[2])
            .with_statuses([JobStatus::Running]),
        15 => any
            .with_job_name(NAMES[1])
            .with_params(PARAMS[1])
            .with_statuses([JobStatus::Pending]),
        16 => JobFilter {
            lease_expired_by: Some(now),
            ..any
        },
        17 => JobFilter {
            created_from: Some(a_while_ago),
            ..any
        },
        _ => JobFilter {
            created_to: Some(a_while_ago),
            ..any
        },
    }
}
