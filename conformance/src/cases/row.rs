//! Jobs that another program, or a later version, has written so that they cannot be read.

use jobstore_core::{
    Action, DeleteRequest, Error, Job, JobFilter, JobId, JobStatus, JobStoreExt as _, NewJob,
    Order, PageRequest, RetryPolicy, Timestamp, Update,
};

use crate::Cx;
use crate::cx::{LEASE, finish};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same_all};
use crate::harness::Tampering;

/// Jobs in these statuses, the first of which cannot be read any more.
async fn spoiled(cx: &Cx, statuses: &[JobStatus]) -> CaseResult<(JobId, Vec<Job>)> {
    let mut jobs = cx.jobs_in(statuses).await?;
    let bad = jobs.remove(0).id;
    cx.tamper(bad, Tampering::Unreadable).await?;
    Ok((bad, jobs))
}

fn unreadable(error: &Error, bad: JobId) -> bool {
    matches!(error, Error::Unreadable { id, .. } if *id == bad.to_string())
}

pub(crate) async fn a_listing_names_it_and_shows_the_others(cx: &Cx) -> CaseResult {
    let (bad, others) = spoiled(cx, &[JobStatus::Pending; 4]).await?;
    let mut by_ids: Vec<JobId> = others.iter().map(|job| job.id).collect();
    by_ids.push(bad);
    for filter in [
        JobFilter::default(),
        JobFilter::default().with_job_name("job"),
        JobFilter::default().with_statuses([JobStatus::Pending]),
        JobFilter::default().with_ids(by_ids),
    ] {
        let page = PageRequest::default();
        let list = cx.store().list_jobs(&filter, &page).await?;
        same_all(&list.items, &others)?;
        check_eq!(list.unreadable.len(), 1, "rows named under {filter:?}");
        check!(
            unreadable(&list.unreadable[0], bad),
            "Error::Unreadable of {bad}, not {:?}",
            list.unreadable[0]
        );
    }
    Ok(())
}

pub(crate) async fn a_walk_meets_each_of_the_others_once(cx: &Cx) -> CaseResult {
    let (_, others) = spoiled(cx, &[JobStatus::Pending; 6]).await?;
    for (size, order) in [
        (1, Order::Ascending),
        (2, Order::Descending),
        (3, Order::Ascending),
        (5, Order::Descending),
    ] {
        let mut walked = cx.walk(&JobFilter::default(), size, order).await?;
        if order == Order::Descending {
            walked.reverse();
        }
        let same = same_all(&walked, &others);
        same.map_err(|failure| failure.when(format!("pages of {size}, {order:?}")))?;
    }
    Ok(())
}

pub(crate) async fn getting_it_says_so(cx: &Cx) -> CaseResult {
    let (bad, others) = spoiled(cx, &[JobStatus::Pending; 2]).await?;
    let got = cx.store().get_job(bad).await;
    check_err!(got, Error::Unreadable { id, .. } if id == bad.to_string());
    cx.unchanged(&others[0]).await
}

pub(crate) async fn counting_goes_on(cx: &Cx) -> CaseResult {
    let (_, others) = spoiled(cx, &[JobStatus::Failed; 3]).await?;
    let counted = cx
        .count(&JobFilter::default())
        .await?
        .get(JobStatus::Failed);
    let readable = others.len() as u64;
    check!(
        (readable..=readable + 1).contains(&counted),
        "the unreadable one counted or not, not {counted}"
    );
    let with_params = JobFilter::default().with_params(r#"{"in": "none of them"}"#);
    check_eq!(cx.count(&with_params).await?.total(), 0, "jobs with params");
    Ok(())
}

pub(crate) async fn claims_pass_it_over(cx: &Cx) -> CaseResult {
    let (bad, others) = spoiled(cx, &[JobStatus::Pending; 4]).await?;
    let mut claimed = Vec::new();
    for _ in 0..others.len() {
        let jobs = cx.claim(1).await?;
        check_eq!(jobs.len(), 1, "jobs claimed while others than {bad} wait");
        claimed.extend(jobs.iter().map(|job| job.id));
    }
    check_eq!(claimed, others.iter().map(|job| job.id).collect::<Vec<_>>());
    check_eq!(
        cx.claim(10).await?.len(),
        0,
        "claimed once only {bad} is left"
    );
    Ok(())
}

pub(crate) async fn it_takes_no_place_in_a_claim_of_many(cx: &Cx) -> CaseResult {
    let (_, others) = spoiled(cx, &[JobStatus::Pending; 6]).await?;
    let claimed = cx.claim(4).await?;
    let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    check_eq!(ids(&claimed), ids(&others[..4]));
    Ok(())
}

pub(crate) async fn an_update_of_it_touches_no_other_of_its_batch(cx: &Cx) -> CaseResult {
    let (bad, others) = spoiled(cx, &[JobStatus::Pending; 3]).await?;
    let ids = [others[0].id, bad, others[1].id];
    let updates = ids.map(|id| Update::new(id, finish("done"))).to_vec();
    let mut verdicts = cx.store().update_jobs(updates).await?;
    check_eq!(verdicts.len(), 3, "verdicts");
    check_err!(verdicts.remove(1), Error::Unreadable { id, .. } if id == bad.to_string());
    for verdict in verdicts {
        cx.unchanged(&verdict?).await?;
    }
    Ok(())
}

pub(crate) async fn it_stops_nobodys_recovery(cx: &Cx) -> CaseResult {
    let (_, others) = spoiled(cx, &[JobStatus::Running; 3]).await?;
    cx.advance(LEASE);
    let recovered = cx
        .store()
        .recover_expired(&[], RetryPolicy::default())
        .await?;
    check_eq!(recovered.len(), others.len(), "recovered");
    for job in &recovered {
        check_eq!(job.status, JobStatus::Pending, "job {}", job.id);
    }
    Ok(())
}

pub(crate) async fn deleting_by_age_takes_the_others(cx: &Cx) -> CaseResult {
    let (bad, others) = spoiled(cx, &[JobStatus::Succeeded; 4]).await?;
    cx.tick();
    let request = DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: Vec::new(),
        statuses: Vec::new(),
        limit: 1,
    };
    let mut deleted = Vec::new();
    for _ in 0..=others.len() {
        deleted.extend(cx.store().delete_jobs(&request).await?);
    }
    deleted.retain(|id| *id != bad);
    deleted.sort_unstable();
    check_eq!(deleted, others.iter().map(|job| job.id).collect::<Vec<_>>());
    Ok(())
}

pub(crate) async fn its_id_stays_taken(cx: &Cx) -> CaseResult {
    let (bad, _) = spoiled(cx, &[JobStatus::Pending; 2]).await?;
    let store = cx.store();
    let again = store.create_job(NewJob::new("b", "{}").with_id(bad));
    match again.await {
        Err(Error::AlreadyExists { id }) if id == bad => Ok(()),
        Err(error) if unreadable(&error, bad) => Ok(()),
        other => Err(Failure::new(
            format!("AlreadyExists or Unreadable of {bad}"),
            format!("{other:?}"),
        )),
    }
}

pub(crate) async fn params_that_are_no_json_meet_no_filter(cx: &Cx) -> CaseResult {
    let odd = cx.create(NewJob::new("a", r#"{"a":1}"#)).await?;
    let good = cx.create(NewJob::new("a", r#"{"a":1}"#)).await?;
    cx.tamper(odd.id, Tampering::Params(r#"{"a":1]"#)).await?;
    let filter = JobFilter::default().with_params(r#"{"a":1}"#);
    same_all(&cx.list(&filter).await?, [&good])?;
    check_eq!(cx.count(&filter).await?.total(), 1);
    check_eq!(
        cx.list(&JobFilter::default()).await?.len(),
        2,
        "listed without a filter"
    );
    let everything = JobFilter::default().with_params("{}");
    check_eq!(cx.list(&everything).await?.len(), 2, "listed under {{}}");
    Ok(())
}

pub(crate) async fn a_job_with_params_that_are_no_json_goes_its_way(cx: &Cx) -> CaseResult {
    let odd = cx.create(NewJob::new("a", r#"{"a":1}"#)).await?;
    cx.tamper(odd.id, Tampering::Params(r#"{"a":1]"#)).await?;
    let run = cx.claim_one().await?;
    check_eq!((run.id, run.params.as_str()), (odd.id, r#"{"a":1]"#));
    let done = cx.update(run.claim(), finish("done")).await?;
    cx.unchanged(&done).await?;
    cx.update(odd.id, Action::Reset).await?;
    Ok(())
}
