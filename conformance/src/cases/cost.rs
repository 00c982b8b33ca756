//! What calls ask of the engine: no more when there are many jobs that they are not about.
//!
//! Requests are counted, not time, which tells nothing on a busy machine.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, JobFilter, JobStatus, NewJob, PageRequest, Timestamp,
    Update,
};

use crate::Cx;
use crate::cx::{LEASE, finish, start};
use crate::failure::{CaseResult, check, check_eq};

/// How many jobs are many: enough that a request for each could not be overlooked.
const MANY: usize = 600;

/// Fails when `call` sends more requests once `fill` has made jobs that it is not about.
///
/// Some are allowed for: a connection may be made, a clock asked.
async fn does_not_grow<'c>(
    cx: &Cx,
    call: impl Fn() -> BoxFuture<'c, CaseResult> + Send + Sync,
    fill: impl Future<Output = CaseResult> + Send,
) -> CaseResult {
    let few = measured(cx, &call).await?;
    check!(few > 0, "requests that are counted");
    fill.await?;
    let many = measured(cx, &call).await?;
    check!(
        many <= 2 * few + 8,
        "about {few} requests as without {MANY} other jobs, not {many}"
    );
    Ok(())
}

async fn measured<'c>(
    cx: &Cx,
    call: &(impl Fn() -> BoxFuture<'c, CaseResult> + Send + Sync),
) -> CaseResult<u64> {
    // The first call may have to tidy up, once, after what was created before it.
    call().await?;
    let before = cx.requests()?;
    call().await?;
    Ok(cx.requests()? - before)
}

async fn create(cx: &Cx, job: NewJob, jobs: usize) -> CaseResult {
    cx.create_all(vec![job; jobs]).await?;
    Ok(())
}

async fn create_in(cx: &Cx, job: NewJob, status: JobStatus) -> CaseResult {
    let jobs = cx.create_all(vec![job; MANY]).await?;
    cx.bring(&jobs, &[status; MANY]).await?;
    Ok(())
}

async fn claim(cx: &Cx) -> CaseResult {
    let request = ClaimRequest::new("ada", LEASE).with_job_name("mine");
    check_eq!(cx.store().claim_jobs(&request).await?.len(), 1);
    Ok(())
}

/// Fails when a claim sends more requests once `fill` has made jobs that it does not get.
async fn claim_does_not_grow(cx: &Cx, fill: impl Future<Output = CaseResult> + Send) -> CaseResult {
    create(cx, NewJob::new("mine", "{}").with_priority(1), 4).await?;
    does_not_grow(cx, || claim(cx).boxed(), fill).await
}

pub(crate) async fn a_claim_beside_finished_jobs(cx: &Cx) -> CaseResult {
    let finished = NewJob::new("mine", "{}").with_priority(9);
    claim_does_not_grow(cx, create_in(cx, finished, JobStatus::Succeeded)).await
}

pub(crate) async fn a_claim_beside_jobs_that_are_not_due(cx: &Cx) -> CaseResult {
    let later = NewJob::new("mine", "{}").with_priority(9);
    let later = later.with_next_attempt_at(cx.at(60_000));
    claim_does_not_grow(cx, create(cx, later, MANY)).await
}

pub(crate) async fn a_claim_beside_jobs_of_other_names(cx: &Cx) -> CaseResult {
    let other = NewJob::new("other", "{}").with_priority(9);
    claim_does_not_grow(cx, create(cx, other, MANY)).await
}

pub(crate) async fn a_claim_before_jobs_that_wait_behind(cx: &Cx) -> CaseResult {
    claim_does_not_grow(cx, create(cx, NewJob::new("mine", "{}"), MANY)).await
}

pub(crate) async fn a_page_however_deep(cx: &Cx) -> CaseResult {
    create(cx, NewJob::new("a", "{}"), MANY).await?;
    let any = JobFilter::default();
    let shallow = PageRequest::default().with_size(10);
    let before_deep = PageRequest::default().with_size(MANY as u32 - 20);
    let token = cx.store().list_jobs(&any, &before_deep).await?.token;
    let mut requests = Vec::new();
    for page in [shallow.clone(), shallow.with_token(token)] {
        let before = cx.requests()?;
        check_eq!(cx.store().list_jobs(&any, &page).await?.len(), 10);
        requests.push(cx.requests()? - before);
    }
    check!(
        requests[1] <= 2 * requests[0] + 8,
        "about {} requests as for the first page, not {}",
        requests[0],
        requests[1]
    );
    Ok(())
}

pub(crate) async fn a_page_of_a_rare_status(cx: &Cx) -> CaseResult {
    cx.jobs_in(&[JobStatus::Failed; 5]).await?;
    let list = || {
        let failed = JobFilter::default().with_statuses([JobStatus::Failed]);
        async move {
            check_eq!(cx.list(&failed).await?.len(), 5);
            Ok(())
        }
        .boxed()
    };
    does_not_grow(cx, list, create(cx, NewJob::new("job", "{}"), MANY)).await
}

pub(crate) async fn getting_a_job(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let get = || cx.unchanged(&job).boxed();
    does_not_grow(cx, get, create(cx, NewJob::new("a", "{}"), MANY)).await
}

pub(crate) async fn creating_a_job(cx: &Cx) -> CaseResult {
    let job = || NewJob::new("a", r#"{"a":1}"#);
    let one = || create(cx, job(), 1).boxed();
    does_not_grow(cx, one, create(cx, job(), MANY)).await
}

pub(crate) async fn changing_a_job(cx: &Cx) -> CaseResult {
    let id = cx.job("a").await?.id;
    let change = || {
        let actions = [Action::Reset, start("ada"), finish("done")];
        let updates = actions.map(|action| Update::new(id, action)).to_vec();
        cx.apply_all(updates).map(|jobs| jobs.map(drop)).boxed()
    };
    does_not_grow(cx, change, create(cx, NewJob::new("a", "{}"), MANY)).await
}

pub(crate) async fn deleting_the_oldest(cx: &Cx) -> CaseResult {
    cx.jobs_in(&[JobStatus::Failed; 4]).await?;
    cx.tick();
    let delete = || {
        async move {
            let request = DeleteRequest::Before {
                cutoff: Timestamp::MAX,
                job_names: Vec::new(),
                statuses: Vec::new(),
                limit: 1,
            };
            check_eq!(cx.store().delete_jobs(&request).await?.len(), 1);
            Ok(())
        }
        .boxed()
    };
    let others = create_in(cx, NewJob::new("a", "{}"), JobStatus::Canceled);
    does_not_grow(cx, delete, others).await
}
