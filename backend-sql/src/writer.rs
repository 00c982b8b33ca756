//! The tasks that write, and the calls they merge.
//!
//! While a transaction is being committed, calls gather in the channel; the next transaction takes
//! all of them. There is no timer: a caller alone waits for nobody.

use jobstore_core::{
    ClaimRequest, Clock as _, Creation, DeleteRequest, Error, Job, JobId, NewJob, Result,
    StoreClock, Update,
};
use sqlx::Pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::dialect::Dialect;
use crate::error::Failure;
use crate::write;

/// The most calls in one transaction.
const MAX_MERGED: usize = 512;
/// How long to wait before the last try of a transaction that others are in the way of. The waits
/// double from a millisecond: nine tries in half a second.
const LONGEST_WAIT: Duration = Duration::from_millis(512);

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Call<Request, Answer> {
    request: Request,
    answer: oneshot::Sender<Result<Answer>>,
}

impl<Request, Answer> Call<Request, Answer> {
    /// Whether nobody waits any more. Such a call was never begun, so it is left out.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn answer(self, answer: Result<Answer>) {
        // An error means that the caller gave up meanwhile, which is its right.
        let _ = self.answer.send(answer);
    }
}

/// A call that writes.
#[derive(Debug)]
pub(crate) enum WriteCall {
    Create(Call<Vec<NewJob>, Vec<Creation>>),
    Update(Call<Vec<Update>, Vec<Result<Job>>>),
    Claim(Call<ClaimRequest, Vec<Job>>),
    Delete(Call<DeleteRequest, Vec<JobId>>),
}

/// The way to the writing task. The task ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<WriteCall>);

impl Writer {
    /// Starts the tasks.
    pub(crate) fn spawn<D: Dialect>(pool: Pool<D>, clock: Arc<StoreClock>) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_MERGED);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..D::WRITERS {
            tokio::spawn(run(pool.clone(), Arc::clone(&clock), Arc::clone(&receiver)));
        }
        Self(sender)
    }

    /// Sends a request to the task and waits for its answer. When this is dropped, the call has
    /// happened wholly or not at all, because the task does not depend on who waits.
    pub(crate) async fn call<Request, Answer>(
        &self,
        request: Request,
        kind: fn(Call<Request, Answer>) -> WriteCall,
    ) -> Result<Answer> {
        let stopped = || Error::Unavailable {
            reason: "the store's writing task has ended".into(),
        };
        let (answer, answered) = oneshot::channel();
        let call = kind(Call { request, answer });
        self.0.send(call).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// The calls of one transaction by kind.
#[derive(Debug, Default)]
struct Group {
    creates: Vec<Call<Vec<NewJob>, Vec<Creation>>>,
    updates: Vec<Call<Vec<Update>, Vec<Result<Job>>>>,
    claims: Vec<Call<ClaimRequest, Vec<Job>>>,
    deletes: Vec<Call<DeleteRequest, Vec<JobId>>>,
}

/// What the calls of a group came to, in the same order.
struct Answers {
    creates: Vec<Result<Vec<Creation>>>,
    updates: Vec<Vec<Result<Job>>>,
    claims: Vec<Vec<Job>>,
    deletes: Vec<Vec<JobId>>,
}

impl Group {
    fn push(&mut self, call: WriteCall) {
        match call {
            WriteCall::Create(call) if !call.is_abandoned() => self.creates.push(call),
            WriteCall::Update(call) if !call.is_abandoned() => self.updates.push(call),
            WriteCall::Claim(call) if !call.is_abandoned() => self.claims.push(call),
            WriteCall::Delete(call) if !call.is_abandoned() => self.deletes.push(call),
            _ => {}
        }
    }

    fn len(&self) -> usize {
        self.creates.len() + self.updates.len() + self.claims.len() + self.deletes.len()
    }

    /// A group for each call alone.
    fn split(self) -> impl Iterator<Item = Group> {
        let creates = self.creates.into_iter().map(WriteCall::Create);
        let updates = self.updates.into_iter().map(WriteCall::Update);
        let claims = self.claims.into_iter().map(WriteCall::Claim);
        let deletes = self.deletes.into_iter().map(WriteCall::Delete);
        updates
            .chain(creates)
            .chain(claims)
            .chain(deletes)
            .map(|call| {
                let mut group = Group::default();
                group.push(call);
                group
            })
    }

    fn answer(self, answers: Answers) {
        self.creates
            .into_iter()
            .zip(answers.creates)
            .for_each(|(call, answer)| call.answer(answer));
        let updates = self.updates.into_iter().zip(answers.updates);
        updates.for_each(|(call, answer)| call.answer(Ok(answer)));
        let claims = self.claims.into_iter().zip(answers.claims);
        claims.for_each(|(call, answer)| call.answer(Ok(answer)));
        let deletes = self.deletes.into_iter().zip(answers.deletes);
        deletes.for_each(|(call, answer)| call.answer(Ok(answer)));
    }

    fn refuse(self, error: &Error) {
        self.creates
            .into_iter()
            .for_each(|call| call.answer(Err(error.clone())));
        self.updates
            .into_iter()
            .for_each(|call| call.answer(Err(error.clone())));
        self.claims
            .into_iter()
            .for_each(|call| call.answer(Err(error.clone())));
        self.deletes
            .into_iter()
            .for_each(|call| call.answer(Err(error.clone())));
    }
}

/// The receiving end, shared by the tasks. Whoever holds it gathers the next group.
type Receiver = Arc<Mutex<mpsc::Receiver<WriteCall>>>;

async fn run<D: Dialect>(pool: Pool<D>, clock: Arc<StoreClock>, receiver: Receiver) {
    while let Some(group) = gather(&receiver).await {
        settle(&pool, &clock, group).await;
    }
}

/// Waits for a call and takes those that wait behind it; None when no handle is left.
async fn gather(receiver: &Receiver) -> Option<Group> {
    let mut receiver = receiver.lock().await;
    let mut group = Group::default();
    group.push(receiver.recv().await?);
    while group.len() < MAX_MERGED
        && let Ok(call) = receiver.try_recv()
    {
        group.push(call);
    }
    Some(group)
}

/// Brings a group to its end, and answers every call of it.
async fn settle<D: Dialect>(pool: &Pool<D>, clock: &StoreClock, group: Group) {
    let failure = match patiently(pool, clock, &group).await {
        Ok(answers) => return group.answer(answers),
        Err(failure) => failure,
    };
    let spoilt = match &failure {
        Failure::Conflict(_) => true,
        // When the engine is away or busy, more tries would only make them all wait longer.
        Failure::Refused(error) => !error.is_retryable(),
        // What may have happened must not happen again.
        Failure::Unknown(_) => false,
    };
    if !spoilt || group.len() < 2 {
        return group.refuse(&failure.into());
    }
    // One call may have spoilt it for the others, so each is run again alone.
    for alone in group.split() {
        match patiently(pool, clock, &alone).await {
            Ok(answers) => alone.answer(answers),
            Err(failure) => alone.refuse(&failure.into()),
        }
    }
}

/// Runs a group, again while other writers are in the way.
async fn patiently<D: Dialect>(
    pool: &Pool<D>,
    clock: &StoreClock,
    group: &Group,
) -> Result<Answers, Failure> {
    let mut wait = Duration::from_millis(1);
    loop {
        match commit(pool, clock, group).await {
            Err(Failure::Conflict(_)) if wait < LONGEST_WAIT => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            done => return done,
        }
    }
}

/// Runs a group in one transaction.
async fn commit<D: Dialect>(
    pool: &Pool<D>,
    clock: &StoreClock,
    group: &Group,
) -> Result<Answers, Failure> {
    let mut connection = pool.acquire().await.map_err(D::error)?;
    begin::<D>(&mut connection).await?;
    let done = match write::<D>(&mut connection, clock, group).await {
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
    let updates: Vec<&[Update]> = group.updates.iter().map(|call| &*call.request).collect();
    let creates: Vec<&[NewJob]> = group.creates.iter().map(|call| &*call.request).collect();
    let claims: Vec<&ClaimRequest> = group.claims.iter().map(|call| &call.request).collect();
    let updates = write::update::<D>(connection, &updates, now).await?;
    let creates = write::create::<D>(connection, &creates, now).await?;
    let claims = write::claim::<D>(connection, &claims, now).await?;
    let mut deletes = Vec::with_capacity(group.deletes.len());
    for call in &group.deletes {
        deletes.push(write::delete::<D>(connection, &call.request).await?);
    }
    Ok(Answers {
        creates,
        updates,
        claims,
        deletes,
    })
}
