//! Reading jobs by id.

use jobstore_core::{
    Action, DeleteRequest, Error, JobId, JobStatus, JobStoreExt as _, NewJob, RetryPolicy, validate,
};

use crate::Cx;
use crate::cx::{LEASE, finish, start};
use crate::failure::{CaseResult, check_eq, check_err};

pub(crate) async fn found_and_missing_come_in_the_order_given(cx: &Cx) -> CaseResult {
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 3]).await?;
    let (unknown, [a, b, c]) = (JobId::generate(), [jobs[0].id, jobs[1].id, jobs[2].id]);
    let answers = cx.store().get_jobs(&[c, unknown, a, b]).await?;
    let ids: Vec<Option<JobId>> = answers.iter().map(|job| Some(job.as_ref()?.id)).collect();
    check_eq!(ids, [Some(c), None, Some(a), Some(b)]);
    Ok(())
}

pub(crate) async fn an_id_asked_for_twice_is_answered_twice(cx: &Cx) -> CaseResult {
    let (id, unknown) = (cx.job("a").await?.id, JobId::generate());
    let answers = cx.store().get_jobs(&[id, id, unknown, id, unknown]).await?;
    let ids: Vec<Option<JobId>> = answers.iter().map(|job| Some(job.as_ref()?.id)).collect();
    check_eq!(ids, [Some(id), Some(id), None, Some(id), None]);
    Ok(())
}

pub(crate) async fn no_ids_give_no_jobs(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    check_eq!(cx.store().get_jobs(&[]).await?, []);
    Ok(())
}

pub(crate) async fn a_thousand_ids_are_answered(cx: &Cx) -> CaseResult {
    let known = cx.create_all(vec![NewJob::new("a", "{}"); 500]).await?;
    let mut ids: Vec<JobId> = known.iter().rev().map(|job| job.id).collect();
    ids.resize_with(validate::MAX_ITEMS, JobId::generate);
    let answers = cx.store().get_jobs(&ids).await?;
    check_eq!(answers.len(), ids.len());
    for (index, (id, answer)) in ids.iter().zip(answers).enumerate() {
        let expected = (index < known.len()).then_some(*id);
        check_eq!(answer.map(|job| job.id), expected, "at {index}");
    }
    Ok(())
}

pub(crate) async fn an_unknown_id_is_not_found(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    let unknown = JobId::generate();
    let answer = cx.store().get_job(unknown).await;
    check_err!(answer, Error::NotFound { id } if id == unknown);
    Ok(())
}

pub(crate) async fn what_a_call_returned_is_what_is_stored(cx: &Cx) -> CaseResult {
    let created = cx.job("a").await?;
    cx.unchanged(&created).await?;
    let claimed = cx.claim_one().await?;
    cx.unchanged(&claimed).await?;
    cx.tick();
    let policy = RetryPolicy {
        base: LEASE,
        ..RetryPolicy::default()
    };
    let error = "no".to_owned();
    for action in [
        Action::Renew { lease: LEASE },
        Action::RetryOrFail { error, policy },
        start("bob"),
        finish("done"),
        Action::Reset,
        Action::Cancel,
    ] {
        let changed = cx.update(created.id, action).await?;
        cx.unchanged(&changed).await?;
        cx.tick();
    }
    Ok(())
}

pub(crate) async fn a_deleted_job_is_gone(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Failed, JobStatus::Failed]).await?;
    let request = DeleteRequest::Ids(vec![jobs[0].id]);
    cx.store().delete_jobs(&request).await?;
    let answers = cx.store().get_jobs(&[jobs[0].id, jobs[1].id]).await?;
    check_eq!(answers[0].as_ref().map(|job| job.id), None);
    check_eq!(answers[1].as_ref().map(|job| job.id), Some(jobs[1].id));
    Ok(())
}
