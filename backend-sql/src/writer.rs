//! One transaction for one group of calls.

use std::sync::Arc;

use jobstore_core::{ClaimRequest, Clock as _, Job, NewJob, Result, StoreClock, Update};
use jobstore_group_commit::{Answers, Engine, Group};

use crate::claim;
use crate::dialect::{ClaimBy, Dialect};
use crate::error::Failure;
use crate::session::{Session, Sessions};
use crate::update;
use crate::wire::Wire;
use crate::write;

/// What the writing tasks write with.
pub(crate) struct Writer<D: Dialect> {
    pub(crate) sessions: Arc<Sessions<D>>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) claim_by: ClaimBy,
}

impl<D: Dialect> Engine for Writer<D> {
    async fn commit(&self, group: &Arc<Group>) -> Result<Answers, Failure> {
        let done = self.sessions.bounded(async {
            let mut session = self.sessions.acquire().await?;
            if let Some(version) = D::ROW_VERSION.filter(|_| self.may_go_unlocked(&session, group))
            {
                let mut wire = session.wire(self.claim_by);
                let calls = updates(group);
                let done = update::update_unlocked(&mut wire, version, &calls, &self.clock).await;
                match done.transpose() {
                    // Somebody was in the way, or a key is to be looked for.
                    None => {}
                    Some(done) => {
                        return session.end(done.map(only_updates)).await;
                    }
                }
            }
            if !session.writes_alone() || !is_one_claim::<D>(group) {
                session.begin().await?;
            }
            let waits = !session.writes_alone() || !group.claims().is_empty();
            let mut wire = session.wire(self.claim_by);
            let done = write::<D>(&mut wire, &self.clock, group, waits).await;
            session.end(done).await
        });
        done.await
            .unwrap_or_else(|late| Err(Failure::Unknown(late)))
    }
}

impl<D: Dialect> Writer<D> {
    /// Whether the group is tried without a transaction, and so without a lock. Where rows cannot be
    /// locked, it is not known whether versions of rows can be told either.
    fn may_go_unlocked(&self, session: &Session<'_, D>, group: &Group) -> bool {
        session.writes_alone()
            && self.claim_by == ClaimBy::SkipLocked
            && group.creates().is_empty()
            && group.claims().is_empty()
            && group.deletes().is_empty()
    }
}

fn updates(group: &Group) -> Vec<&[Update]> {
    group.updates().iter().map(Vec::as_slice).collect()
}

fn only_updates(updates: Vec<Vec<Result<Job>>>) -> Answers {
    Answers {
        updates,
        ..Answers::default()
    }
}

/// Whether the group is one statement that claims, which is a transaction by itself.
fn is_one_claim<D: Dialect>(group: &Group) -> bool {
    let claims = group.claims();
    let mut others = claims
        .windows(2)
        .filter(|pair| pair[0].job_names != pair[1].job_names);
    D::CLAIMS_ALONE
        && group.creates().is_empty()
        && group.updates().is_empty()
        && group.deletes().is_empty()
        && others.next().is_none()
}

async fn write<D: Dialect>(
    wire: &mut Wire<'_, D>,
    clock: &StoreClock,
    group: &Group,
    waits: bool,
) -> Result<Answers, Failure> {
    let creates: Vec<&[NewJob]> = group.creates().iter().map(Vec::as_slice).collect();
    let claims: Vec<&ClaimRequest> = group.claims().iter().collect();
    let updates = update::update::<D>(wire, &updates(group), clock).await?;
    if waits {
        // So the time is taken inside the transaction, and times follow the order of commits where one
        // waits for another.
        wire.begin().await?;
    }
    let now = clock.now();
    let creates = write::create::<D>(wire, &creates, now).await?;
    let claims = claim::claim::<D>(wire, &claims, now).await?;
    let mut deletes = Vec::with_capacity(group.deletes().len());
    for request in group.deletes() {
        deletes.push(write::delete::<D>(wire, request).await?);
    }
    Ok(Answers {
        creates,
        updates,
        claims,
        deletes,
    })
}
