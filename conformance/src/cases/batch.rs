//! Batches of updates.

use jobstore_core::{Action, Error, JobId, JobStatus, NewJob, RetryPolicy, Update, validate};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start};
use crate::failure::{CaseResult, check_eq, check_err, same};

pub(crate) async fn an_empty_batch_has_no_verdicts(cx: &Cx) -> CaseResult {
    check_eq!(cx.store().update_jobs(Vec::new()).await?.len(), 0);
    Ok(())
}

pub(crate) async fn verdicts_come_in_the_order_given(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Pending; 3]).await?;
    let unknown = JobId::generate();
    let ids = [jobs[2].id, unknown, jobs[0].id, jobs[1].id];
    let updates = ids.map(|id| Update::new(id, finish(&id.to_string())));
    let verdicts = cx.store().update_jobs(updates.to_vec()).await?;
    check_eq!(verdicts.len(), ids.len());
    for (id, verdict) in ids.into_iter().zip(verdicts) {
        if id == unknown {
            check_err!(verdict, Error::NotFound { id } if id == unknown);
        } else {
            let job = verdict?;
            check_eq!(
                (job.id, job.result.as_deref()),
                (id, Some(&*id.to_string()))
            );
            cx.unchanged(&job).await?;
        }
    }
    Ok(())
}

pub(crate) async fn a_refusal_touches_no_other_item(cx: &Cx) -> CaseResult {
    let statuses = [JobStatus::Pending, JobStatus::Failed, JobStatus::Running];
    let jobs = cx.jobs_in(&statuses).await?;
    cx.tick();
    let updates = jobs.iter().map(|job| Update::new(job.id, start("bob")));
    let verdicts = cx.store().update_jobs(updates.collect()).await?;
    let accepted: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    check_eq!(accepted, [true, false, false]);
    check_eq!(cx.get(jobs[0].id).await?.status, JobStatus::Running);
    cx.unchanged(&jobs[1]).await?;
    cx.unchanged(&jobs[2]).await
}

pub(crate) async fn each_verdict_is_about_its_own_action(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 6]).await?;
    let (error, policy) = ("no".to_owned(), RetryPolicy::default());
    let actions = [
        finish("done"),
        fail("broken"),
        Action::TimeOut,
        Action::RetryOrFail { error, policy },
        Action::Cancel,
        Action::Renew { lease: LEASE },
    ];
    let updates = jobs.iter().zip(actions);
    let updates = updates.map(|(job, action)| Update::new(job.claim(), action));
    let after = cx.apply_all(updates.collect()).await?;
    let statuses: Vec<JobStatus> = after.iter().map(|job| job.status).collect();
    use JobStatus::{Canceled, Failed, Pending, Running, Succeeded, Timeout};
    check_eq!(
        statuses,
        [Succeeded, Failed, Timeout, Pending, Canceled, Running]
    );
    Ok(())
}

pub(crate) async fn items_on_one_job_run_one_after_another(cx: &Cx) -> CaseResult {
    let id = cx.job("job").await?.id;
    let actions = [start("ada"), finish("one"), Action::Reset, start("bob")];
    let updates = actions.map(|action| Update::new(id, action));
    let verdicts = cx.apply_all(updates.to_vec()).await?;
    let seen: Vec<_> = verdicts.iter().map(|job| (job.status, job.fence)).collect();
    use JobStatus::{Pending, Running, Succeeded};
    check_eq!(
        seen,
        [(Running, 1), (Succeeded, 1), (Pending, 1), (Running, 2)]
    );
    cx.unchanged(&verdicts[3]).await
}

pub(crate) async fn a_later_item_sees_what_an_earlier_did(cx: &Cx) -> CaseResult {
    let job = cx.job("job").await?;
    let other = cx.job("other").await?;
    let updates = vec![
        Update::new(job.id, start("ada")),
        Update::new(other.id, Action::Cancel),
        Update::new(job.id, start("bob")),
    ];
    let verdicts = cx.store().update_jobs(updates).await?;
    check_err!(
        &verdicts[2],
        Error::InvalidTransition { id, status: JobStatus::Running, .. } if *id == job.id
    );
    check_eq!(cx.get(job.id).await?.lease_owner.as_deref(), Some("ada"));
    Ok(())
}

pub(crate) async fn of_two_claims_in_a_batch_the_current_one_counts(cx: &Cx) -> CaseResult {
    cx.job("job").await?;
    let first = cx.claim_one().await?;
    cx.update(first.id, Action::Reset).await?;
    let second = cx.claim_one().await?;
    let updates = vec![
        Update::new(first.claim(), finish("old")),
        Update::new(second.claim(), finish("new")),
        Update::new(first.claim(), finish("new")),
        Update::new(second.claim(), finish("new")),
    ];
    let verdicts = cx.store().update_jobs(updates).await?;
    let accepted: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    check_eq!(accepted, [false, true, false, true]);
    check_eq!(cx.get(first.id).await?.result.as_deref(), Some("new"));
    Ok(())
}

pub(crate) async fn an_outcome_twice_in_a_batch_is_a_repetition(cx: &Cx) -> CaseResult {
    cx.job("job").await?;
    let run = cx.claim_one().await?;
    let (error, policy) = ("no".to_owned(), RetryPolicy::default());
    let retry = Action::RetryOrFail { error, policy };
    let after = cx
        .apply_all(vec![Update::new(run.claim(), retry); 3])
        .await?;
    check_eq!(after[0].retry_count, 1);
    same(&after[1], &after[0])?;
    same(&after[2], &after[0])?;
    cx.unchanged(&after[0]).await
}

pub(crate) async fn a_thousand_updates_are_taken(cx: &Cx) -> CaseResult {
    let jobs = cx
        .create_all(vec![NewJob::new("a", "{}"); validate::MAX_ITEMS])
        .await?;
    let updates = jobs.iter().map(|job| Update::new(job.id, start("ada")));
    cx.apply_all(updates.collect()).await?;
    let updates = jobs.iter().rev();
    let updates = updates.map(|job| Update::new(job.id, finish(&job.id.to_string())));
    for (done, job) in cx
        .apply_all(updates.collect())
        .await?
        .iter()
        .zip(jobs.iter().rev())
    {
        check_eq!(done.result.as_deref(), Some(&*job.id.to_string()));
    }
    Ok(())
}

fn keyed() -> NewJob {
    NewJob::new("mail", "{}").with_unique_key("key")
}

pub(crate) async fn a_key_freed_in_a_batch_can_be_taken_in_it(cx: &Cx) -> CaseResult {
    let old = cx.create(keyed()).await?;
    cx.update(old.id, Action::Cancel).await?;
    let holder = cx.create(keyed()).await?;
    let cancel = Update::new(holder.id, Action::Cancel);
    let reset = Update::new(old.id, Action::Reset);
    let verdicts = cx
        .store()
        .update_jobs(vec![reset.clone(), cancel, reset])
        .await?;
    check_err!(&verdicts[0], Error::AlreadyExists { id } if *id == holder.id);
    check_eq!((verdicts[1].is_ok(), verdicts[2].is_ok()), (true, true));
    check_eq!(cx.get(old.id).await?.status, JobStatus::Pending);
    Ok(())
}

pub(crate) async fn of_two_resets_with_one_key_the_first_wins(cx: &Cx) -> CaseResult {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = cx.create(keyed()).await?.id;
        cx.update(id, finish("done")).await?;
        ids.push(id);
    }
    let resets = ids.iter().rev().map(|id| Update::new(*id, Action::Reset));
    let verdicts = cx.store().update_jobs(resets.collect()).await?;
    check_eq!(verdicts[0].is_ok(), true);
    check_err!(&verdicts[1], Error::AlreadyExists { id } if *id == ids[1]);
    check_eq!(cx.get(ids[0]).await?.status, JobStatus::Succeeded);
    Ok(())
}

pub(crate) async fn a_batch_of_any_size_has_each_verdict(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 257]).await?;
    for size in (1..=17).chain([63, 64, 65, 255, 256, 257]) {
        cx.tick();
        let renew = |job: &jobstore_core::Job| Update::new(job.id, Action::Renew { lease: LEASE });
        let renewed = cx
            .apply_all(jobs[..size].iter().map(renew).collect())
            .await?;
        check_eq!(renewed.len(), size, "verdicts");
        for (renewed, job) in renewed.iter().zip(&jobs) {
            let got = (renewed.id, renewed.last_update_time);
            check_eq!(got, (job.id, cx.now()), "in a batch of {size}");
        }
    }
    Ok(())
}

pub(crate) async fn a_reset_refused_for_its_key_touches_no_other_item(cx: &Cx) -> CaseResult {
    let old = cx.create(keyed()).await?;
    let old = cx.update(old.id, Action::Cancel).await?;
    let holder = cx.create(keyed()).await?;
    let others = cx.jobs_in(&[JobStatus::Running; 3]).await?;
    cx.tick();
    let updates = vec![
        Update::new(others[0].claim(), finish("first")),
        Update::new(others[1].id, Action::Reset),
        Update::new(old.id, Action::Reset),
        Update::new(others[2].claim(), finish("third")),
    ];
    let verdicts = cx.store().update_jobs(updates).await?;
    check_eq!(verdicts.len(), 4, "verdicts");
    for (index, verdict) in verdicts.into_iter().enumerate() {
        if index == 2 {
            check_err!(verdict, Error::AlreadyExists { id } if id == holder.id);
        } else {
            // What was answered is what is stored.
            cx.unchanged(&verdict?).await?;
        }
    }
    cx.unchanged(&old).await?;
    cx.unchanged(&holder).await
}
