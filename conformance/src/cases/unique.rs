//! Unique keys.

use jobstore_core::{Action, Creation, Error, Job, JobId, JobStatus, JobStoreExt as _, NewJob};

use crate::Cx;
use crate::cx::{fail, finish, start};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same};

fn keyed() -> NewJob {
    NewJob::new("mail", "{}").with_unique_key("key")
}

/// Creates a job and fails unless this one is found instead.
async fn finds(cx: &Cx, asked: NewJob, holder: &Job) -> CaseResult {
    match cx.store().create_job(asked).await? {
        Creation::Existing(found) => same(&found, holder),
        Creation::Created(job) => Err(Failure::new(
            format!("existing {}", holder.id),
            format!("new {}", job.id),
        )),
    }
}

pub(crate) async fn the_holder_is_found_and_unchanged(cx: &Cx) -> CaseResult {
    let holder = cx.create(keyed()).await?;
    cx.tick();
    finds(cx, keyed().with_priority(9), &holder).await?;
    cx.unchanged(&holder).await?;
    check_eq!(cx.total().await?, 1);
    Ok(())
}

pub(crate) async fn a_key_twice_in_a_batch_makes_one_job(cx: &Cx) -> CaseResult {
    let batch = vec![keyed(), keyed().with_priority(1), keyed()];
    let creations = cx.store().create_jobs(batch).await?;
    check_eq!(creations.len(), 3);
    check!(creations[0].is_new(), "the first is new");
    for later in &creations[1..] {
        check!(!later.is_new(), "the later ones find the first");
        same(later.job(), creations[0].job())?;
    }
    check_eq!(cx.total().await?, 1);
    Ok(())
}

pub(crate) async fn the_key_is_looked_at_before_the_id(cx: &Cx) -> CaseResult {
    let id = JobId::generate();
    let holder = cx.create(keyed().with_id(id)).await?;
    finds(cx, keyed().with_id(id), &holder).await?;
    let other = cx.job("other").await?;
    finds(cx, keyed().with_id(other.id), &holder).await
}

pub(crate) async fn in_a_batch_too_the_key_comes_before_the_id(cx: &Cx) -> CaseResult {
    let twice = vec![keyed().with_id(JobId::generate()); 2];
    let first = cx.store().create_jobs(twice.clone()).await?;
    check!(first[0].is_new() && !first[1].is_new(), "one new job");
    let again = cx.store().create_jobs(twice).await?;
    check!(again.iter().all(|creation| !creation.is_new()), "none new");
    check_eq!(again[0].job().id, first[0].job().id);
    Ok(())
}

pub(crate) async fn a_free_key_does_not_excuse_a_known_id(cx: &Cx) -> CaseResult {
    let known = cx.create(keyed()).await?;
    cx.update(known.id, Action::Cancel).await?;
    let refused = cx.store().create_job(keyed().with_id(known.id)).await;
    check_err!(refused, Error::AlreadyExists { id } if id == known.id);
    cx.create(keyed()).await?;
    Ok(())
}

pub(crate) async fn a_key_belongs_to_one_name(cx: &Cx) -> CaseResult {
    cx.create(keyed()).await?;
    cx.create(NewJob::new("other", "{}").with_unique_key("key"))
        .await?;
    // Name and key must not run together: ("ab", "c") is not ("a", "bc").
    cx.create(NewJob::new("ab", "{}").with_unique_key("c"))
        .await?;
    cx.create(NewJob::new("a", "{}").with_unique_key("bc"))
        .await?;
    Ok(())
}

pub(crate) async fn jobs_without_a_key_never_collide(cx: &Cx) -> CaseResult {
    cx.create_all(vec![NewJob::new("mail", "{}"); 3]).await?;
    cx.create(NewJob::new("mail", "{}")).await?;
    Ok(())
}

pub(crate) async fn every_end_frees_the_key(cx: &Cx) -> CaseResult {
    for end in [finish("done"), fail("no"), Action::TimeOut, Action::Cancel] {
        let pending = cx.create(keyed()).await?;
        cx.update(pending.id, end.clone()).await?;
        cx.create(keyed()).await?;
        let running = cx.claim_one().await?;
        cx.update(running.claim(), end).await?;
    }
    check_eq!(cx.total().await?, 8);
    Ok(())
}

pub(crate) async fn a_running_job_holds_its_key(cx: &Cx) -> CaseResult {
    cx.create(keyed()).await?;
    let running = cx.claim_one().await?;
    finds(cx, keyed(), &running).await
}

pub(crate) async fn a_job_that_waits_for_its_retry_holds_its_key(cx: &Cx) -> CaseResult {
    cx.create(keyed()).await?;
    let running = cx.claim_one().await?;
    let retry = Action::RetryOrFail {
        error: "no".to_owned(),
        policy: jobstore_core::RetryPolicy::default(),
    };
    let waiting = cx.update(running.claim(), retry).await?;
    check_eq!(waiting.status, JobStatus::Pending);
    finds(cx, keyed(), &waiting).await
}

pub(crate) async fn a_reset_that_would_steal_a_key_is_refused(cx: &Cx) -> CaseResult {
    let first = cx.create(keyed()).await?;
    let first = cx.update(first.id, Action::Cancel).await?;
    let second = cx.create(keyed()).await?;
    cx.tick();
    let stolen = cx.update(first.id, Action::Reset).await;
    check_err!(stolen, Error::AlreadyExists { id } if id == second.id);
    cx.unchanged(&first).await?;
    cx.unchanged(&second).await
}

pub(crate) async fn a_reset_takes_a_free_key_again(cx: &Cx) -> CaseResult {
    let job = cx.create(keyed()).await?;
    cx.update(job.id, finish("done")).await?;
    let job = cx.update(job.id, Action::Reset).await?;
    check_eq!(job.status, JobStatus::Pending);
    finds(cx, keyed(), &job).await
}

pub(crate) async fn a_job_never_collides_with_itself(cx: &Cx) -> CaseResult {
    let job = cx.create(keyed()).await?;
    cx.update(job.id, Action::Reset).await?;
    let running = cx.claim_one().await?;
    let back = cx.update(running.claim(), Action::Reset).await?;
    check_eq!(back.status, JobStatus::Pending);
    finds(cx, keyed(), &back).await
}

pub(crate) async fn deleting_an_old_job_does_not_free_its_successors_key(cx: &Cx) -> CaseResult {
    let old = cx.create(keyed()).await?;
    cx.update(old.id, Action::Cancel).await?;
    let successor = cx.create(keyed()).await?;
    let request = jobstore_core::DeleteRequest::Ids(vec![old.id]);
    check_eq!(cx.store().delete_jobs(&request).await?, [old.id]);
    finds(cx, keyed(), &successor).await
}

/// Creates a batch that asks for a held key, beside a change of the holder. Calls `each` with the
/// holder as the change left it and what the batch was told of the key, whenever the batch was made
/// after the change: the last of its jobs was not there yet.
async fn beside_a_change_of_the_holder(
    cx: &Cx,
    change: Action,
    each: impl Fn(&Job, &Creation) -> CaseResult,
) -> CaseResult {
    let store = cx.store();
    for round in 0..8 {
        let holder = cx.create(keyed()).await?.id;
        let last = JobId::generate();
        // Long, so that much can happen between its beginning and its end.
        let mut batch = vec![keyed()];
        batch.extend(vec![NewJob::new("other", "{}"); 300]);
        batch.push(NewJob::new("other", "{}").with_id(last));
        let changing = async {
            // In each round a little later.
            for _ in 0..round {
                store.get_jobs(&[holder]).await?;
            }
            let changed = cx.update(holder, change.clone()).await?;
            Ok::<_, Error>((changed, store.get_jobs(&[last]).await?.remove(0)))
        };
        let (creations, changed) = tokio::join!(store.create_jobs(batch), changing);
        let (creations, (changed, seen)) = (creations?, changed?);
        if seen.is_none() {
            each(&changed, &creations[0])?;
        }
        // Whoever holds the key, if anybody does, leaves it to the next round.
        for id in [holder, creations[0].job().id] {
            match cx.update(id, Action::Cancel).await {
                Ok(_) | Err(Error::InvalidTransition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

pub(crate) async fn a_batch_shows_a_holder_as_it_is_when_it_is_made(cx: &Cx) -> CaseResult {
    let check = |changed: &Job, found: &Creation| {
        check!(!found.is_new(), "the holder {} is found", changed.id);
        same(found.job(), changed)
    };
    beside_a_change_of_the_holder(cx, start("ada"), check).await
}

pub(crate) async fn a_key_freed_before_a_batch_is_made_is_free_for_it(cx: &Cx) -> CaseResult {
    let check = |changed: &Job, found: &Creation| {
        let holder = changed.id;
        check!(found.is_new(), "a new job: {holder} was canceled before");
        Ok(())
    };
    beside_a_change_of_the_holder(cx, Action::Cancel, check).await
}
