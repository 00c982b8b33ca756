//! What was asked of a store last, to be shown when a case fails.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jobstore_core::{
    Arrivals, ClaimRequest, Creation, DeleteRequest, Job, JobFilter, JobId, JobStore, NewJob,
    PageRequest, PagedList, Result, StatusCounts, Timestamp, Update,
};

/// So many calls are kept; more would not fit a screen.
const CALLS: usize = 4;

/// Of a batch, so many items are shown.
const ITEMS: usize = 3;

/// The last calls, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<Mutex<VecDeque<String>>>);

impl Calls {
    fn push(&self, call: String) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(crate) fn latest(&self) -> Vec<String> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().cloned().collect()
    }
}

/// A store whose last calls are known.
#[derive(Debug)]
pub(crate) struct Traced {
    store: Arc<dyn JobStore>,
    calls: Calls,
}

impl Traced {
    pub(crate) fn new(store: Arc<dyn JobStore>, calls: Calls) -> Self {
        Self { store, calls }
    }

    fn saw<T>(&self, call: &str, reply: &Result<T>, show: impl FnOnce(&T) -> String) {
        let reply = match reply {
            Ok(reply) => show(reply),
            Err(error) => error.to_string(),
        };
        self.calls.push(format!("{call}: {reply}"));
    }
}

/// The first few of these, and how many more there are.
fn some<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = items.iter().take(ITEMS).map(show).collect();
    let mut text = shown.join(", ");
    if items.len() > ITEMS {
        let more = items.len() - ITEMS;
        write!(text, ", {more} more").expect("writing to a String cannot fail");
    }
    if text.is_empty() {
        text.push_str("none");
    }
    text
}

fn job(job: &Job) -> String {
    format!("{} {} fence {}", job.id, job.status, job.fence)
}

fn verdict<T>(verdict: &Result<T>, show: impl Fn(&T) -> String) -> String {
    match verdict {
        Ok(reply) => show(reply),
        Err(error) => error.to_string(),
    }
}

fn creation(creation: &Creation) -> String {
    let found = if creation.is_new() { "" } else { "existing " };
    format!("{found}{}", job(creation.job()))
}

fn id(id: &impl fmt::Display) -> String {
    id.to_string()
}

#[async_trait]
impl JobStore for Traced {
    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn create_jobs(&self, jobs: Vec<NewJob>) -> Result<Vec<Creation>> {
        let call = format!("create {}", jobs.len());
        let reply = self.store.create_jobs(jobs).await;
        self.saw(&call, &reply, |creations| some(creations, creation));
        reply
    }

    async fn get_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
        let reply = self.store.get_jobs(ids).await;
        let call = format!("get {}", some(ids, id));
        self.saw(&call, &reply, |jobs| {
            some(jobs, |found| found.as_ref().map_or("none".to_owned(), job))
        });
        reply
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<PagedList<Job>> {
        let reply = self.store.list_jobs(filter, page).await;
        let from = if page.token.is_some() { "next " } else { "" };
        let call = format!("list {from}{} {:?}", page.size, page.order);
        self.saw(&call, &reply, |list| some(list, job));
        reply
    }

    async fn count_jobs(&self, filter: &JobFilter) -> Result<StatusCounts> {
        let reply = self.store.count_jobs(filter).await;
        self.saw("count", &reply, |counts| counts.total().to_string());
        reply
    }

    async fn claim_jobs(&self, request: &ClaimRequest) -> Result<Vec<Job>> {
        let reply = self.store.claim_jobs(request).await;
        let call = format!("claim {} for {:?}", request.limit, request.lease.owner);
        self.saw(&call, &reply, |jobs| some(jobs, job));
        reply
    }

    async fn update_jobs(&self, updates: Vec<Update>) -> Result<Vec<Result<Job>>> {
        let call = some(&updates, |update| {
            format!("{} {}", update.action.kind(), update.target.id())
        });
        let reply = self.store.update_jobs(updates).await;
        self.saw(&call, &reply, |verdicts| {
            some(verdicts, |one| verdict(one, job))
        });
        reply
    }

    async fn delete_jobs(&self, request: &DeleteRequest) -> Result<Vec<JobId>> {
        let reply = self.store.delete_jobs(request).await;
        let call = match request {
            DeleteRequest::Ids(ids) => format!("delete {}", some(ids, id)),
            DeleteRequest::Before { cutoff, limit, .. } => {
                format!("delete {limit} before {cutoff}")
            }
        };
        self.saw(&call, &reply, |ids| some(ids, id));
        reply
    }

    fn arrivals(&self) -> Arrivals {
        self.store.arrivals()
    }
}
