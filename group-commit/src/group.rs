//! The calls of one transaction, and their answers.

use std::sync::Arc;

use jobstore_core::{
    ClaimRequest, Creation, DeleteRequest, Error, Job, JobId, NewJob, Result, Update,
};
use tokio::sync::oneshot;

/// The requests of one transaction by kind.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub(crate) updates: Vec<Vec<Update>>,
    pub(crate) creates: Vec<Vec<NewJob>>,
    pub(crate) claims: Vec<ClaimRequest>,
    pub(crate) deletes: Vec<DeleteRequest>,
}

impl Group {
    /// The batches of updates, one for each call.
    pub fn updates(&self) -> &[Vec<Update>] {
        &self.updates
    }

    /// The batches of jobs to create, one for each call.
    pub fn creates(&self) -> &[Vec<NewJob>] {
        &self.creates
    }

    /// The claims.
    pub fn claims(&self) -> &[ClaimRequest] {
        &self.claims
    }

    /// The deletions.
    pub fn deletes(&self) -> &[DeleteRequest] {
        &self.deletes
    }
}

/// What the calls of a [`Group`] came to: of each kind as many as there were calls, in their order.
#[derive(Debug, Default)]
pub struct Answers {
    /// For each batch of updates a verdict for each of them.
    pub updates: Vec<Vec<Result<Job>>>,
    /// For each batch of new jobs what became of them, or why none was created.
    pub creates: Vec<Result<Vec<Creation>>>,
    /// For each claim the jobs that run under it now.
    pub claims: Vec<Vec<Job>>,
    /// For each deletion the ids that are gone.
    pub deletes: Vec<Vec<JobId>>,
}

/// Where an answer goes. Closed when nobody waits any more.
pub(crate) type Reply<Answer> = oneshot::Sender<Result<Answer>>;

/// A call on its way to a task.
pub(crate) enum Call {
    Create(Vec<NewJob>, Reply<Vec<Creation>>),
    Update(Vec<Update>, Reply<Vec<Result<Job>>>),
    Claim(ClaimRequest, Reply<Vec<Job>>),
    Delete(DeleteRequest, Reply<Vec<JobId>>),
}

/// A group and where its answers go, in the same order.
#[derive(Default)]
pub(crate) struct Merged {
    pub(crate) group: Arc<Group>,
    updates: Vec<Reply<Vec<Result<Job>>>>,
    creates: Vec<Reply<Vec<Creation>>>,
    claims: Vec<Reply<Vec<Job>>>,
    deletes: Vec<Reply<Vec<JobId>>>,
}

impl Merged {
    /// Takes a call, unless its caller gave up: it was never begun, so it is left out.
    pub(crate) fn push(&mut self, call: Call) {
        let group = Arc::make_mut(&mut self.group);
        match call {
            Call::Update(updates, reply) if !reply.is_closed() => {
                group.updates.push(updates);
                self.updates.push(reply);
            }
            Call::Create(jobs, reply) if !reply.is_closed() => {
                group.creates.push(jobs);
                self.creates.push(reply);
            }
            Call::Claim(request, reply) if !reply.is_closed() => {
                group.claims.push(request);
                self.claims.push(reply);
            }
            Call::Delete(request, reply) if !reply.is_closed() => {
                group.deletes.push(request);
                self.deletes.push(reply);
            }
            _ => {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.updates.len() + self.creates.len() + self.claims.len() + self.deletes.len()
    }

    /// Each call alone, those left out whose callers gave up meanwhile.
    pub(crate) fn split(self) -> impl Iterator<Item = Self> {
        let group = Arc::unwrap_or_clone(self.group);
        let updates = calls(group.updates, self.updates, Call::Update);
        let creates = calls(group.creates, self.creates, Call::Create);
        let claims = calls(group.claims, self.claims, Call::Claim);
        let deletes = calls(group.deletes, self.deletes, Call::Delete);
        let calls = updates.chain(creates).chain(claims).chain(deletes);
        let alone = calls.map(|call| {
            let mut alone = Self::default();
            alone.push(call);
            alone
        });
        alone.filter(|alone| alone.len() > 0)
    }

    pub(crate) fn answer(self, answers: Answers) {
        send(self.updates, answers.updates.into_iter().map(Ok));
        send(self.creates, answers.creates);
        send(self.claims, answers.claims.into_iter().map(Ok));
        send(self.deletes, answers.deletes.into_iter().map(Ok));
    }

    pub(crate) fn refuse(self, error: &Error) {
        send(self.updates, std::iter::repeat_with(|| Err(error.clone())));
        send(self.creates, std::iter::repeat_with(|| Err(error.clone())));
        send(self.claims, std::iter::repeat_with(|| Err(error.clone())));
        send(self.deletes, std::iter::repeat_with(|| Err(error.clone())));
    }
}

fn calls<Request, Answer>(
    requests: Vec<Request>,
    replies: Vec<Reply<Answer>>,
    kind: fn(Request, Reply<Answer>) -> Call,
) -> impl Iterator<Item = Call> {
    let calls = requests.into_iter().zip(replies);
    calls.map(move |(request, reply)| kind(request, reply))
}

fn send<Answer>(replies: Vec<Reply<Answer>>, answers: impl IntoIterator<Item = Result<Answer>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // An error means that the caller gave up meanwhile, which is its right.
        let _ = reply.send(answer);
    }
}
