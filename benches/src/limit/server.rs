//! What the limits share that write with SQL: calls sorted by kind, so that each kind is one statement,
//! and dealt their answers.

use async_trait::async_trait;
use jobstore_core::{Claim, JobId, NewJob, Timestamp};

use super::{Limit, Page, Write};

/// A connection with the statements of one engine.
#[async_trait]
pub(super) trait Statements: Send + 'static {
    /// Whether a claim is one statement, which is a transaction by itself.
    const CLAIMS_ALONE: bool;
    /// Whether creating and finishing are one statement each.
    const CHANGES_ALONE: bool = true;

    async fn begin(&mut self);
    async fn commit(&mut self);

    /// Inserts jobs and returns their ids, in their order.
    async fn create(&mut self, jobs: &[NewJob], now: i64) -> Vec<JobId>;

    /// Claims jobs and returns them in the order of claims.
    async fn claim(&mut self, name: &str, limit: usize, now: i64) -> Vec<Claim>;

    /// Finishes the jobs that run under their claims, and says which did. Servers only count: there
    /// all must.
    async fn finish(&mut self, claims: &[Claim], now: i64) -> Vec<bool>;

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page;
}

/// A limit that writes with statements.
pub(super) struct Server<S>(pub(super) S);

#[async_trait]
impl<S: Statements> Limit for Server<S> {
    async fn write(&mut self, calls: Vec<Write>) -> Vec<Vec<Claim>> {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let now = now.expect("a time after 1970").as_millis() as i64;
        let mut answers = vec![Vec::new(); calls.len()];
        let (mut creates, mut finishes) = (Sorted::default(), Sorted::default());
        let mut claims: Vec<(String, Sorted<()>)> = Vec::new();
        for (place, call) in calls.into_iter().enumerate() {
            match call {
                Write::Create(jobs) => creates.push(place, jobs),
                Write::Finish(claims) => finishes.push(place, claims),
                Write::Claim { name, limit } => {
                    let wanted = vec![(); limit as usize];
                    match claims.iter_mut().find(|(other, _)| *other == name) {
                        Some((_, sorted)) => sorted.push(place, wanted),
                        None => {
                            let mut sorted = Sorted::default();
                            sorted.push(place, wanted);
                            claims.push((name, sorted));
                        }
                    }
                }
            }
        }
        let kinds = [creates.places.is_empty(), finishes.places.is_empty()];
        let statements = claims.len() + kinds.iter().filter(|empty| !**empty).count();
        let alone = match claims.is_empty() {
            true => S::CHANGES_ALONE,
            false => S::CLAIMS_ALONE,
        };
        let alone = alone && statements < 2;
        if !alone {
            self.0.begin().await;
        }
        if !creates.places.is_empty() {
            let ids = self.0.create(&creates.items, now).await;
            let created = ids.into_iter().map(|id| Some(Claim { id, fence: 0 }));
            creates.deal(created, &mut answers);
        }
        for (name, sorted) in &claims {
            let claimed = self.0.claim(name, sorted.items.len(), now).await;
            sorted.deal(claimed.into_iter().map(Some), &mut answers);
        }
        if !finishes.places.is_empty() {
            let done = self.0.finish(&finishes.items, now).await;
            let finished = finishes.items.iter().zip(done);
            let finished = finished.map(|(claim, done)| done.then_some(*claim));
            finishes.deal(finished, &mut answers);
        }
        if !alone {
            self.0.commit().await;
        }
        answers
    }

    async fn page(&mut self, after: Option<(Timestamp, JobId)>, size: usize) -> Page {
        self.0.page(after, size).await
    }
}

/// The calls of one kind: all their items, and how many are whose.
struct Sorted<Item> {
    items: Vec<Item>,
    places: Vec<(usize, usize)>,
}

impl<Item> Default for Sorted<Item> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<Item> Sorted<Item> {
    fn push(&mut self, place: usize, items: Vec<Item>) {
        self.places.push((place, items.len()));
        self.items.extend(items);
    }

    /// Deals an answer for each item, in their order.
    fn deal(&self, mut claims: impl Iterator<Item = Option<Claim>>, answers: &mut [Vec<Claim>]) {
        for &(place, wanted) in &self.places {
            answers[place].extend(claims.by_ref().take(wanted).flatten());
        }
    }
}
