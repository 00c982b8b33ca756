//! What is measured side by side: the store, and its engine driven directly.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobstore::{
    Action, Claim, ClaimRequest, Job, JobFilter, JobId, JobStore, PageRequest, PageToken,
    Timestamp, Update,
};
use tokio::sync::Mutex;

use crate::limit::{Limit, OWNER, Page, Raw, Write};

/// One of the sides that a [`Case`](crate::Case) is run on.
#[derive(Clone)]
pub enum Side {
    /// The store, through its trait.
    Store(Arc<dyn JobStore>),
    /// The engine driven directly by one caller at a time.
    Limit(Arc<Mutex<Box<dyn Limit>>>),
    /// The engine driven directly for many callers.
    Raw(Raw),
}

/// Which page to read.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Of these jobs; limits know only all jobs.
    pub filter: JobFilter,
    /// Its size, order and, for the store, its place.
    pub request: PageRequest,
    /// Its place for a limit.
    pub after: Option<(Timestamp, JobId)>,
}

/// A page that was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// How many jobs it had.
    pub jobs: usize,
    token: Option<PageToken>,
    last: Option<(Timestamp, JobId)>,
}

impl From<Page> for Read {
    fn from(page: Page) -> Self {
        Self {
            jobs: page.jobs,
            token: None,
            last: page.last,
        }
    }
}

impl Listing {
    /// The page after this one, unless it was the last.
    pub fn next(self, read: Read) -> Option<Self> {
        if read.token.is_none() && (read.last.is_none() || read.jobs < self.request.size as usize) {
            return None;
        }
        Some(Self {
            request: self.request.with_token(read.token),
            after: read.last,
            ..self
        })
    }
}

impl Side {
    /// Does one call.
    pub async fn write(&self, call: Write) -> Vec<Claim> {
        match self {
            Self::Store(store) => write(&**store, call).await,
            Self::Limit(limit) => {
                let answers = limit.lock().await.write(vec![call]).await;
                answers
                    .into_iter()
                    .next()
                    .expect("one answer for each call")
            }
            Self::Raw(raw) => raw.write(call).await,
        }
    }

    /// Reads a page.
    ///
    /// # Panics
    ///
    /// On [`Side::Raw`], which only writes.
    pub async fn page(&self, listing: &Listing) -> Read {
        match self {
            Self::Store(store) => {
                let page = store.list_jobs(&listing.filter, &listing.request).await;
                let page = page.expect("lists");
                Read {
                    jobs: page.len(),
                    token: page.token,
                    last: None,
                }
            }
            Self::Limit(limit) => {
                let size = listing.request.size as usize;
                limit.lock().await.page(listing.after, size).await.into()
            }
            Self::Raw(_) => panic!("pages are read by one caller"),
        }
    }

    /// The page of 100 that follows after this many jobs.
    pub async fn deep(&self, jobs: usize) -> Listing {
        let mut listing = Listing::default();
        let mut left = jobs;
        while left > 0 {
            let size = left.min(1000);
            listing.request.size = u32::try_from(size).expect("at most 1,000");
            let read = self.page(&listing).await;
            listing = listing.next(read).expect("there are more");
            left -= size;
        }
        listing.request.size = 100;
        listing
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store(_) => "Store",
            Self::Limit(_) => "Limit",
            Self::Raw(_) => "Raw",
        })
    }
}

/// Does one call on a store.
pub async fn write(store: &dyn JobStore, call: Write) -> Vec<Claim> {
    match call {
        Write::Create(jobs) => {
            let created = store.create_jobs(jobs).await.expect("creates");
            created.iter().map(|one| one.job().claim()).collect()
        }
        Write::Claim { name, limit } => {
            let request = ClaimRequest::new(OWNER, Duration::from_secs(3600));
            let request = request.with_job_name(name).with_limit(limit);
            let claimed = store.claim_jobs(&request).await.expect("claims");
            claimed.iter().map(Job::claim).collect()
        }
        Write::Finish(claims) => {
            let finish = |claim: Claim| Update::new(claim, Action::Finish { result: None });
            let updates = claims.into_iter().map(finish).collect();
            let verdicts = store.update_jobs(updates).await.expect("updates");
            let finished = verdicts
                .into_iter()
                .map(|job| job.expect("finishes").claim());
            finished.collect()
        }
    }
}
