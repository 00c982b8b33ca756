//! One transaction for one group of calls.

use std::sync::Arc;

use jobstore_core::{ClaimRequest, Clock as _, NewJob, Result, StoreClock, Update};
use jobstore_group_commit::{Answers, Engine, Group};
use sqlx::Pool;

use crate::dialect::Dialect;
use crate::error::{Failure, FailureExt as _};
use crate::write;

/// What the writing tasks write with.
pub(crate) struct Writer<D: Dialect> {
    pool: Pool<D>,
    clock: Arc<StoreClock>,
}

impl<D: Dialect> Writer<D> {
    pub(crate) fn new(pool: Pool<D>, clock: Arc<StoreClock>) -> Self {
        Self { pool, clock }
    }
}

impl<D: Dialect> Engine for Writer<D> {
    async fn commit(&self, group: &Arc<Group>) -> Result<Answers, Failure> {
        let mut connection = self.pool.acquire().await.map_err(D::error)?;
        begin::<D>(&mut connection).await?;
        let done = match write::<D>(&mut connection, &self.clock, group).await {
            Ok(answers) => match D::run(&mut connection, "COMMIT").await {
                Ok(()) => Ok(answers),
                Err(error) if D::is_conflict(&error) => Err(Failure::of::<D>(error)),
                Err(error) => Err(Failure::Unknown(D::error(error))),
            },
            Err(failure) => Err(failure),
        };
        if done.is_err() {
            // Fails when the error ended the transaction by itself, as a full disk does.
            let _ = D::run(&mut connection, "ROLLBACK").await;
        }
        done
    }
}

async fn begin<D: Dialect>(connection: &mut D::Connection) -> Result<()> {
    match D::run(connection, D::BEGIN).await {
        Err(error) if !D::is_busy(&error) => {
            // In a pool of the caller's, a connection may come back with a transaction open that
            // was dropped half way. Nobody can commit that any more.
            let _ = D::run(connection, "ROLLBACK").await;
            D::run(connection, D::BEGIN).await.map_err(D::error)
        }
        begun => begun.map_err(D::error),
    }
}

async fn write<D: Dialect>(
    connection: &mut D::Connection,
    clock: &StoreClock,
    group: &Group,
) -> Result<Answers, Failure> {
    // Taken inside the transaction, so that times follow the order of commits.
    let now = clock.now();
    let updates: Vec<&[Update]> = group.updates().iter().map(Vec::as_slice).collect();
    let creates: Vec<&[NewJob]> = group.creates().iter().map(Vec::as_slice).collect();
    let claims: Vec<&ClaimRequest> = group.claims().iter().collect();
    let updates = write::update::<D>(connection, &updates, now).await?;
    let creates = write::create::<D>(connection, &creates, now).await?;
    let claims = write::claim::<D>(connection, &claims, now).await?;
    let mut deletes = Vec::with_capacity(group.deletes().len());
    for request in group.deletes() {
        deletes.push(write::delete::<D>(connection, request).await?);
    }
    Ok(Answers {
        creates,
        updates,
        claims,
        deletes,
    })
}
