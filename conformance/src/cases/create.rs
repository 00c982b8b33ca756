//! Creating jobs.

use std::time::Duration;

use jobstore_core::{
    Creation, Error, Job, JobFilter, JobId, JobStatus, JobStoreExt as _, NewJob, Timestamp,
    validate,
};

use crate::Cx;
use crate::failure::{CaseResult, check, check_eq, check_err, same, same_all};

/// A job with every field given.
fn full(cx: &Cx) -> NewJob {
    NewJob::new("train", r#"{"epochs": 3}"#)
        .with_id(JobId::generate())
        .with_timeout(Duration::from_millis(1_500))
        .with_priority(-7)
        .with_next_attempt_at(cx.at(5_000))
        .with_max_retries(9)
        .with_unique_key("key")
}

/// Fails unless the job holds what was asked for.
fn as_asked(job: &Job, asked: &NewJob) -> CaseResult {
    check_eq!(job.id, asked.id.unwrap_or(job.id));
    check_eq!(job.job_name, asked.job_name);
    check_eq!(job.params.as_str(), asked.params.as_str());
    check_eq!(job.timeout, asked.timeout);
    check_eq!(job.priority, asked.priority);
    let due = asked.next_attempt_at.unwrap_or(job.creation_time);
    check_eq!(job.next_attempt_at, due);
    check_eq!(job.max_retries, asked.max_retries);
    check_eq!(job.unique_key, asked.unique_key);
    Ok(())
}

/// Creates these jobs one by one, and fails unless each reads back as it was returned and asked for.
async fn round_trip(cx: &Cx, asked: Vec<NewJob>) -> CaseResult {
    for asked in asked {
        let job = cx.create(asked.clone()).await?;
        as_asked(&job, &asked)?;
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn every_field_comes_back(cx: &Cx) -> CaseResult {
    round_trip(cx, vec![full(cx)]).await
}

pub(crate) async fn every_field_comes_back_from_a_batch(cx: &Cx) -> CaseResult {
    let asked = vec![
        NewJob::new("bare", "{}"),
        full(cx),
        NewJob::new("bare", "{}").with_unique_key("other"),
        NewJob::new("train", "{}").with_timeout(Duration::from_secs(1)),
    ];
    let jobs = cx.create_all(asked.clone()).await?;
    check_eq!(jobs.len(), asked.len());
    for (job, asked) in jobs.iter().zip(&asked) {
        as_asked(job, asked)?;
    }
    same_all(&cx.get_all(jobs.iter().map(|job| job.id)).await?, &jobs)
}

pub(crate) async fn a_listing_shows_every_field(cx: &Cx) -> CaseResult {
    let job = cx.create(full(cx)).await?;
    same_all(&cx.list(&JobFilter::default()).await?, [&job])
}

pub(crate) async fn what_is_absent_stays_absent(cx: &Cx) -> CaseResult {
    let id = cx.job("bare").await?.id;
    let job = cx.get(id).await?;
    check_eq!((job.timeout, job.max_retries), (None, None));
    check_eq!((&job.unique_key, &job.result), (&None, &None));
    check_eq!((&job.lease_owner, job.lease_expires_at), (&None, None));
    check_eq!((&job.last_error, job.priority), (&None, 0));
    Ok(())
}

pub(crate) async fn a_new_job_is_pending_and_due_now(cx: &Cx) -> CaseResult {
    let job = cx.job("new").await?;
    check_eq!(job.status, JobStatus::Pending);
    check_eq!((job.retry_count, job.fence), (0, 0));
    check_eq!(job.creation_time, cx.now());
    check_eq!(job.last_update_time, cx.now());
    check_eq!(job.next_attempt_at, cx.now());
    Ok(())
}

pub(crate) async fn made_ids_ascend(cx: &Cx) -> CaseResult {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let batch = vec![NewJob::new("a", "{}"); 40];
        ids.extend(cx.create_all(batch).await?.iter().map(|job| job.id));
        ids.push(cx.job("b").await?.id);
    }
    check!(
        ids.is_sorted_by(|a, b| a < b),
        "ids in the order of creation"
    );
    Ok(())
}

pub(crate) async fn made_ids_are_uuids_of_version_7(cx: &Cx) -> CaseResult {
    let id = cx.job("a").await?.id;
    check_eq!(id.as_uuid().get_version_num(), 7);
    Ok(())
}

pub(crate) async fn any_uuid_serves_as_an_id(cx: &Cx) -> CaseResult {
    for text in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "80000000-0000-4000-8000-000000000001",
        "deadbeef-dead-1eef-8ead-beefdeadbeef",
    ] {
        let id: JobId = text.parse()?;
        let job = cx.create(NewJob::new("a", "{}").with_id(id)).await?;
        check_eq!(job.id.to_string(), text);
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn a_known_id_is_refused_and_its_job_untouched(cx: &Cx) -> CaseResult {
    let first = cx.create(full(cx)).await?;
    cx.tick();
    let second = NewJob::new("other", r#"{"b":2}"#).with_id(first.id);
    let refused = cx.store().create_job(second).await;
    check_err!(refused, Error::AlreadyExists { id } if id == first.id);
    cx.unchanged(&first).await
}

pub(crate) async fn the_id_of_a_finalized_job_is_refused(cx: &Cx) -> CaseResult {
    for job in cx
        .jobs_in(&[JobStatus::Succeeded, JobStatus::Canceled])
        .await?
    {
        let again = NewJob::new("job", "{}").with_id(job.id);
        let refused = cx.store().create_job(again).await;
        check_err!(refused, Error::AlreadyExists { id } if id == job.id);
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn an_id_twice_in_a_batch_is_refused(cx: &Cx) -> CaseResult {
    let id = JobId::generate();
    let twice = vec![NewJob::new("a", "{}").with_id(id); 2];
    let refused = cx.store().create_jobs(twice).await;
    check_err!(refused, Error::AlreadyExists { id: named } if named == id);
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_refused_batch_writes_nothing(cx: &Cx) -> CaseResult {
    let known = cx.job("known").await?;
    let fresh = JobId::generate();
    let batch = vec![
        NewJob::new("a", "{}").with_id(fresh),
        NewJob::new("b", "{}").with_unique_key("key"),
        NewJob::new("c", "{}").with_id(known.id),
        NewJob::new("d", "{}"),
    ];
    let refused = cx.store().create_jobs(batch).await;
    check_err!(refused, Error::AlreadyExists { id } if id == known.id);
    check_eq!(cx.total().await?, 1);
    check_eq!(cx.store().get_jobs(&[fresh]).await?, [None]);
    let keyed = NewJob::new("b", "{}").with_unique_key("key");
    cx.create_all([keyed, NewJob::new("a", "{}").with_id(fresh)])
        .await?;
    Ok(())
}

pub(crate) async fn an_empty_batch_succeeds(cx: &Cx) -> CaseResult {
    check_eq!(cx.store().create_jobs(Vec::new()).await?, []);
    check_eq!(cx.total().await?, 0);
    Ok(())
}

pub(crate) async fn a_batch_of_a_thousand_keeps_its_order(cx: &Cx) -> CaseResult {
    // Texts as long as this are far from the most that a batch may have.
    let (name, filling) = ("many".repeat(100), "x".repeat(200));
    let params = |n| format!("{{\"n\":{n},\"text\":\"{filling}\"}}");
    let job = |n| NewJob::new(name.as_str(), params(n)).with_priority((n % 7) as i16);
    let jobs = cx.create_all((0..validate::MAX_ITEMS).map(job)).await?;
    for (n, job) in jobs.iter().enumerate() {
        check_eq!(job.params.as_str(), params(n));
    }
    same_all(&cx.get_all(jobs.iter().map(|job| job.id)).await?, &jobs)
}

pub(crate) async fn extreme_numbers_come_back(cx: &Cx) -> CaseResult {
    let job = || NewJob::new("extreme", "{}");
    let asked = vec![
        job().with_priority(i16::MIN).with_max_retries(0),
        job()
            .with_priority(i16::MAX)
            .with_max_retries(validate::MAX_RETRIES),
    ];
    round_trip(cx, asked).await
}

pub(crate) async fn times_far_away_come_back(cx: &Cx) -> CaseResult {
    let times = [i64::MIN, -1, 0, 1, 253_402_300_800_000, i64::MAX];
    let asked =
        times.map(|at| NewJob::new("far", "{}").with_next_attempt_at(Timestamp::from_millis(at)));
    round_trip(cx, asked.to_vec()).await
}

pub(crate) async fn timeouts_come_back_as_they_were_shown(cx: &Cx) -> CaseResult {
    let timeouts = [
        Duration::from_nanos(1),
        Duration::from_millis(100),
        Duration::from_secs(1) / 3,
        Duration::from_secs(86_400 * 365),
        Duration::MAX,
    ];
    for timeout in timeouts {
        let job = cx
            .create(NewJob::new("a", "{}").with_timeout(timeout))
            .await?;
        let stored = timeout.as_secs_f64();
        check_eq!(job.timeout.map(|shown| shown.as_secs_f64()), Some(stored));
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn params_are_kept_byte_for_byte(cx: &Cx) -> CaseResult {
    let texts = [
        "{}",
        " {\t\"b\" : 1 ,\r\n\"a\":2}\n",
        r#"{"a":1,"a":2}"#,
        r#"{"n":1e400,"z":-0.0,"i":123456789012345678901234567890,"f":1.10}"#,
        r#"{"u":"\u0000\ud83d\ude00\/é","é":"e\u0301"}"#,
        r#"{"q":"' \" \\ % _ $1 ? :a -- /* ; `"}"#,
        r#"{"":{"":[[],{},null,true]}}"#,
    ];
    round_trip(cx, texts.map(|text| NewJob::new("p", text)).to_vec()).await
}

pub(crate) async fn params_of_8_mib_come_back(cx: &Cx) -> CaseResult {
    let frame = r#"{"a":""}"#;
    let filling = "x".repeat(validate::MAX_PAYLOAD_BYTES - frame.len());
    let asked = NewJob::new("big", format!("{{\"a\":\"{filling}\"}}"));
    round_trip(cx, vec![asked]).await
}

pub(crate) async fn creating_touches_no_other_job(cx: &Cx) -> CaseResult {
    let before = cx.jobs_in(&JobStatus::ALL).await?;
    cx.tick();
    cx.create_all([NewJob::new("job", "{}"), full(cx)]).await?;
    let ids = before.iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &before)
}

pub(crate) async fn a_mixed_batch_says_which_jobs_are_new(cx: &Cx) -> CaseResult {
    let keyed = |key: &str| NewJob::new("a", "{}").with_unique_key(key);
    let old = cx.create(keyed("old")).await?;
    let batch = vec![keyed("new"), keyed("old"), NewJob::new("a", "{}")];
    let creations = cx.store().create_jobs(batch).await?;
    let new: Vec<bool> = creations.iter().map(Creation::is_new).collect();
    check_eq!(new, [true, false, true]);
    same(creations[1].job(), &old)?;
    check_eq!(cx.total().await?, 3);
    Ok(())
}

pub(crate) async fn a_batch_of_any_size_is_whole(cx: &Cx) -> CaseResult {
    for size in (1..=17).chain([63, 64, 65, 255, 256, 257]) {
        let name = format!("{size} jobs");
        let new = |n| NewJob::new(&*name, format!("{{\"n\":{n}}}"));
        let jobs = cx.create_all((0..size).map(new)).await?;
        let same = same_all(&cx.get_all(jobs.iter().map(|job| job.id)).await?, &jobs);
        same.map_err(|failure| failure.when(&name))?;
        let params: Vec<_> = jobs.iter().map(|job| job.params.as_str()).collect();
        let asked: Vec<_> = (0..size).map(|n| format!("{{\"n\":{n}}}")).collect();
        check_eq!(params, asked, "{name}");
    }
    Ok(())
}

pub(crate) async fn a_refused_batch_leaves_the_jobs_it_found(cx: &Cx) -> CaseResult {
    let keyed = |name: &str| NewJob::new(name, "{}").with_unique_key("key");
    let holder = cx.create(keyed("a")).await?;
    let known = cx.job("a").await?.id;
    cx.tick();
    let batch = vec![
        keyed("a"),
        keyed("b"),
        NewJob::new("a", "{}").with_id(known),
    ];
    let refused = cx.store().create_jobs(batch).await;
    check_err!(refused, Error::AlreadyExists { id } if id == known);
    cx.unchanged(&holder).await?;
    let again = cx.store().create_job(keyed("a")).await?;
    check_eq!((again.is_new(), again.job().id), (false, holder.id));
    check_eq!(cx.total().await?, 2);
    Ok(())
}
