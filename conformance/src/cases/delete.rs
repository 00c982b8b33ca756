//! Deleting.

use std::time::Duration;

use jobstore_core::{
    Action, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, NewJob, Timestamp, validate,
};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, check, check_eq, check_err, same_all};

const FINALIZED: [JobStatus; 4] = [
    JobStatus::Succeeded,
    JobStatus::Failed,
    JobStatus::Timeout,
    JobStatus::Canceled,
];

/// Deletes; the ids in ascending order, since the contract gives them none.
async fn delete(cx: &Cx, request: DeleteRequest) -> CaseResult<Vec<JobId>> {
    let mut ids = cx.store().delete_jobs(&request).await?;
    ids.sort_unstable();
    Ok(ids)
}

fn before(cutoff: Timestamp) -> DeleteRequest {
    DeleteRequest::Before {
        cutoff,
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit: 1_000,
    }
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Finished jobs, one in each millisecond, in the order in which they were finished.
async fn finished(cx: &Cx, names: &[&str]) -> CaseResult<Vec<Job>> {
    let mut jobs = Vec::new();
    for name in names {
        let job = cx.job(name).await?;
        jobs.push(cx.update(job.id, finish("done")).await?);
        cx.tick();
    }
    Ok(jobs)
}

pub(crate) async fn only_finalized_jobs_are_deleted_by_id(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    let deleted = delete(cx, DeleteRequest::Ids(ids(&jobs))).await?;
    check_eq!(deleted, ids(&jobs[2..]));
    same_all(&cx.list(&JobFilter::default()).await?, &jobs[..2])
}

pub(crate) async fn unknown_ids_are_passed_over(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&FINALIZED).await?;
    let chosen = vec![JobId::generate(), jobs[1].id, JobId::generate()];
    check_eq!(delete(cx, DeleteRequest::Ids(chosen)).await?, [jobs[1].id]);
    check_eq!(cx.total().await?, 3);
    Ok(())
}

pub(crate) async fn an_id_given_twice_is_deleted_once(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&FINALIZED).await?;
    let twice = vec![jobs[0].id, jobs[1].id, jobs[0].id];
    let deleted = delete(cx, DeleteRequest::Ids(twice)).await?;
    check_eq!(deleted, ids(&jobs[..2]));
    Ok(())
}

pub(crate) async fn no_ids_delete_nothing(cx: &Cx) -> CaseResult {
    cx.jobs_in(&FINALIZED).await?;
    check_eq!(delete(cx, DeleteRequest::Ids(Vec::new())).await?, []);
    check_eq!(cx.total().await?, 4);
    Ok(())
}

pub(crate) async fn a_thousand_ids_are_deleted(cx: &Cx) -> CaseResult {
    let jobs = cx
        .jobs_in(&vec![JobStatus::Failed; validate::MAX_ITEMS])
        .await?;
    let deleted = delete(cx, DeleteRequest::Ids(ids(&jobs))).await?;
    check_eq!(deleted, ids(&jobs));
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_deleted_job_stays_gone(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    let run = cx.claim_one().await?;
    cx.update(run.claim(), finish("done")).await?;
    let request = DeleteRequest::Ids(vec![job.id]);
    check_eq!(delete(cx, request.clone()).await?, [job.id]);
    check_eq!(delete(cx, request).await?, []);
    for action in super::matrix::every_action() {
        let gone = cx.update(job.id, action.clone()).await;
        check_err!(gone, Error::NotFound { id } if id == job.id);
        let gone = cx.update(run.claim(), action).await;
        check_err!(gone, Error::NotFound { id } if id == job.id);
    }
    check_eq!(cx.total().await?, 0);
    check_eq!(cx.list(&JobFilter::default()).await?.len(), 0);
    Ok(())
}

pub(crate) async fn the_cutoff_itself_is_kept(cx: &Cx) -> CaseResult {
    let jobs = finished(cx, &["a", "a", "a"]).await?;
    let cutoff = jobs[1].last_update_time;
    check_eq!(delete(cx, before(cutoff)).await?, [jobs[0].id]);
    check_eq!(delete(cx, before(cutoff)).await?, []);
    same_all(&cx.list(&JobFilter::default()).await?, &jobs[1..])
}

pub(crate) async fn age_is_counted_from_the_last_update(cx: &Cx) -> CaseResult {
    let old = cx.job("a").await?;
    cx.advance(Duration::from_secs(86_400));
    let cutoff = cx.now();
    cx.update(old.id, finish("just now")).await?;
    check_eq!(delete(cx, before(cutoff)).await?, []);
    check_eq!(delete(cx, before(cx.at(1))).await?, [old.id]);
    Ok(())
}

pub(crate) async fn unfinished_jobs_are_never_too_old(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    cx.advance(LEASE * 1_000);
    check_eq!(delete(cx, before(Timestamp::MAX)).await?, ids(&jobs[2..]));
    same_all(&cx.list(&JobFilter::default()).await?, &jobs[..2])
}

pub(crate) async fn a_deletion_keeps_to_its_statuses(cx: &Cx) -> CaseResult {
    for status in FINALIZED {
        let jobs = cx.jobs_in(&FINALIZED).await?;
        let request = DeleteRequest::Before {
            cutoff: Timestamp::MAX,
            job_names: Vec::new(),
            statuses: vec![status],
            limit: 1_000,
        };
        let chosen = jobs.iter().filter(|job| job.status == status);
        let chosen: Vec<JobId> = chosen.map(|job| job.id).collect();
        check_eq!(delete(cx, request).await?, chosen);
        delete(cx, before(Timestamp::MAX)).await?;
    }
    Ok(())
}

pub(crate) async fn a_deletion_keeps_to_its_names(cx: &Cx) -> CaseResult {
    let jobs = finished(cx, &["a", "b", "c", "A", "b"]).await?;
    let named = |names: &[&str]| DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: names.iter().map(|name| (*name).to_owned()).collect(),
        statuses: Vec::new(),
        limit: 1_000,
    };
    check_eq!(delete(cx, named(&["unknown"])).await?, []);
    let deleted = delete(cx, named(&["b", "a"])).await?;
    check_eq!(deleted, [jobs[0].id, jobs[1].id, jobs[4].id]);
    same_all(&cx.list(&JobFilter::default()).await?, &jobs[2..4])
}

pub(crate) async fn a_limit_takes_the_oldest(cx: &Cx) -> CaseResult {
    // Finished in the reverse order of creation, so that ids do not give the answer away.
    let jobs = cx.create_all(vec![NewJob::new("a", "{}"); 5]).await?;
    for job in jobs.iter().rev() {
        cx.update(job.id, Action::Cancel).await?;
        cx.tick();
    }
    let limited = |limit| DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit,
    };
    check_eq!(delete(cx, limited(2)).await?, ids(&jobs[3..]));
    check_eq!(delete(cx, limited(1)).await?, ids(&jobs[2..3]));
    check_eq!(delete(cx, limited(9)).await?, ids(&jobs[..2]));
    Ok(())
}

pub(crate) async fn any_number_is_deleted_bit_by_bit(cx: &Cx) -> CaseResult {
    let mut left = 0;
    for _ in 0..2 {
        left += cx.jobs_in(&[JobStatus::Succeeded; 700]).await?.len() as u64;
    }
    while left > 0 {
        let deleted = delete(cx, before(cx.at(1))).await?.len() as u64;
        check_eq!(deleted, left.min(1_000));
        left -= deleted;
        check_eq!(cx.total().await?, left);
    }
    Ok(())
}

pub(crate) async fn a_reset_job_is_not_deleted(cx: &Cx) -> CaseResult {
    let jobs = finished(cx, &["a", "a"]).await?;
    cx.update(jobs[0].id, Action::Reset).await?;
    cx.tick();
    check_eq!(delete(cx, before(cx.now())).await?, [jobs[1].id]);
    check_eq!(delete(cx, DeleteRequest::Ids(vec![jobs[0].id])).await?, []);
    check_eq!(cx.claim_one().await?.id, jobs[0].id);
    Ok(())
}

pub(crate) async fn a_job_that_ended_twice_is_deleted_once(cx: &Cx) -> CaseResult {
    let twice = finished(cx, &["a"]).await?.remove(0);
    cx.update(twice.id, Action::Reset).await?;
    cx.update(twice.id, Action::Cancel).await?;
    cx.tick();
    let other = finished(cx, &["a"]).await?.remove(0);
    let request = DeleteRequest::Before {
        cutoff: cx.now(),
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit: 2,
    };
    check_eq!(delete(cx, request).await?, [twice.id, other.id]);
    Ok(())
}

pub(crate) async fn an_id_given_again_has_nothing_of_the_job_before(cx: &Cx) -> CaseResult {
    let first = NewJob::new("a", r#"{"old":1}"#).with_unique_key("old");
    let first = cx.create(first.with_max_retries(7)).await?;
    cx.update(first.id, start("ada")).await?;
    cx.update(first.id, fail("no")).await?;
    let request = DeleteRequest::Ids(vec![first.id]);
    check_eq!(cx.store().delete_jobs(&request).await?, [first.id]);
    let second = NewJob::new("b", r#"{"new":1}"#).with_id(first.id);
    let second = cx.create(second).await?;
    let got = (
        second.max_retries,
        second.last_error.is_some(),
        second.fence,
    );
    check_eq!(got, (None, false, 0));
    cx.unchanged(&second).await?;
    let any = JobFilter::default;
    for (filter, found) in [
        (any().with_params(r#"{"old":1}"#), 0),
        (any().with_params(r#"{"new":1}"#), 1),
        (any().with_job_name("a"), 0),
        (any().with_statuses([JobStatus::Failed]), 0),
    ] {
        check_eq!(cx.list(&filter).await?.len(), found, "{filter:?}");
    }
    cx.create(NewJob::new("a", "{}").with_unique_key("old"))
        .await?;
    Ok(())
}

pub(crate) async fn ids_made_after_all_were_deleted_are_new(cx: &Cx) -> CaseResult {
    let before = cx.jobs_in(&[JobStatus::Failed; 10]).await?;
    let ids: Vec<_> = before.iter().map(|job| job.id).collect();
    cx.store()
        .delete_jobs(&DeleteRequest::Ids(ids.clone()))
        .await?;
    check_eq!(cx.total().await?, 0);
    let after = cx.create_all(vec![NewJob::new("a", "{}"); 10]).await?;
    let last = ids.iter().max();
    check!(after.iter().all(|job| Some(&job.id) > last), "greater ids");
    Ok(())
}

pub(crate) async fn a_limit_counts_only_what_is_meant(cx: &Cx) -> CaseResult {
    let jobs = finished(cx, &["b", "b", "a", "b", "a", "a"]).await?;
    let canceled = cx.job("a").await?;
    cx.update(canceled.id, Action::Cancel).await?;
    let request = |statuses: &[JobStatus]| DeleteRequest::Before {
        cutoff: cx.at(1),
        job_names: vec!["a".to_owned()],
        statuses: statuses.to_vec(),
        limit: 1,
    };
    let chosen = request(&[JobStatus::Canceled]);
    check_eq!(delete(cx, chosen).await?, [canceled.id]);
    for job in [&jobs[2], &jobs[4], &jobs[5]] {
        check_eq!(delete(cx, request(&[])).await?, [job.id]);
    }
    check_eq!(delete(cx, request(&[])).await?, []);
    Ok(())
}

pub(crate) async fn a_deletion_keeps_to_names_and_statuses_both(cx: &Cx) -> CaseResult {
    let mut chosen = Vec::new();
    let mut others = Vec::new();
    for name in ["a", "b", "c"] {
        let jobs = cx.create_all(vec![NewJob::new(name, "{}"); 4]).await?;
        for job in cx.bring(&jobs, &FINALIZED).await? {
            let meant =
                name != "c" && [JobStatus::Failed, JobStatus::Timeout].contains(&job.status);
            if meant { &mut chosen } else { &mut others }.push(job);
        }
    }
    let request = DeleteRequest::Before {
        cutoff: cx.at(1),
        job_names: vec!["a".to_owned(), "b".to_owned()],
        statuses: vec![JobStatus::Timeout, JobStatus::Failed],
        limit: 1_000,
    };
    check_eq!(delete(cx, request).await?, ids(&chosen));
    others.sort_by_key(Job::list_order);
    same_all(&cx.list(&JobFilter::default()).await?, &others)
}
