//! What input is refused: always before anything is written, and by the name of its field.

use std::time::Duration;

use jobstore_core::{
    Action, ClaimRequest, DeleteRequest, Error, JobFilter, JobId, JobStatus, JobStoreExt as _,
    Lease, MAX_ERROR_BYTES, NewJob, PageRequest, Result, RetryPolicy, Timestamp, Update, validate,
};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, start, worker};
use crate::failure::{CaseResult, Failure, check, check_eq, check_err, same_all};

/// Fails unless the call was refused because of this field.
#[track_caller]
fn refused<T>(result: Result<T>, wanted: &str) -> CaseResult {
    let promise = format!("a refusal that names {wanted}");
    match result {
        Err(Error::InvalidArgument { field, .. }) if field == wanted => Ok(()),
        Err(error) => Err(Failure::new(promise, format!("{error:?}"))),
        Ok(_) => Err(Failure::new(promise, "success")),
    }
}

/// Fails unless a batch with this job in second place is refused because of this field, nothing is
/// written, and the store works on.
async fn create(cx: &Cx, job: NewJob, field: &str) -> CaseResult {
    let before = cx.total().await?;
    let batch = vec![NewJob::new("fine", "{}"), job];
    let result = cx.store().create_jobs(batch).await;
    refused(result, &format!("jobs[1].{field}"))?;
    check_eq!(cx.total().await?, before);
    Ok(())
}

/// Fails unless a batch with this action in second place is refused because of this field, and
/// both jobs are as they were.
async fn update(cx: &Cx, status: JobStatus, action: Action, field: &str) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running, status]).await?;
    cx.tick();
    let fine = Update::new(jobs[0].id, finish("fine"));
    let wrong = Update::new(jobs[1].id, action);
    let result = cx.store().update_jobs(vec![fine, wrong]).await;
    refused(result, &format!("updates[1].{field}"))?;
    let ids = jobs.iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &jobs)
}

/// Fails unless this claim is refused because of this field, and no job was claimed.
async fn claim(cx: &Cx, request: ClaimRequest, field: &str) -> CaseResult {
    let job = cx.job("job").await?;
    refused(cx.store().claim_jobs(&request).await, field)?;
    cx.unchanged(&job).await
}

/// Fails unless this filter is refused, in listing and counting, because of this field.
async fn filter(cx: &Cx, filter: JobFilter, field: &str) -> CaseResult {
    cx.job("job").await?;
    let page = PageRequest::default();
    refused(cx.store().list_jobs(&filter, &page).await, field)?;
    refused(cx.store().count_jobs(&filter).await, field)
}

fn named(name: impl Into<String>) -> NewJob {
    NewJob::new(name, "{}")
}

fn keyed(key: impl Into<String>) -> NewJob {
    named("job").with_unique_key(key)
}

pub(crate) async fn an_empty_name_is_refused(cx: &Cx) -> CaseResult {
    create(cx, named(""), "job_name").await?;
    claim(
        cx,
        worker().with_job_name("a").with_job_name(""),
        "job_names",
    )
    .await?;
    filter(cx, JobFilter::default().with_job_name(""), "job_names").await
}

pub(crate) async fn a_name_of_501_characters_is_refused(cx: &Cx) -> CaseResult {
    for c in ["x", "😀"] {
        let long = c.repeat(501);
        create(cx, named(&*long), "job_name").await?;
        claim(cx, worker().with_job_name(&*long), "job_names").await?;
        filter(cx, JobFilter::default().with_job_name(long), "job_names").await?;
    }
    Ok(())
}

pub(crate) async fn nul_in_a_name_is_refused(cx: &Cx) -> CaseResult {
    for name in ["\0", "a\0", "a\0b"] {
        create(cx, named(name), "job_name").await?;
        claim(cx, worker().with_job_name(name), "job_names").await?;
        filter(cx, JobFilter::default().with_job_name(name), "job_names").await?;
    }
    Ok(())
}

pub(crate) async fn an_empty_key_is_refused(cx: &Cx) -> CaseResult {
    create(cx, keyed(""), "unique_key").await
}

pub(crate) async fn a_key_of_256_characters_is_refused(cx: &Cx) -> CaseResult {
    create(cx, keyed("x".repeat(256)), "unique_key").await?;
    create(cx, keyed("😀".repeat(256)), "unique_key").await
}

pub(crate) async fn nul_in_a_key_is_refused(cx: &Cx) -> CaseResult {
    create(cx, keyed("a\0b"), "unique_key").await
}

pub(crate) async fn a_bad_owner_is_refused(cx: &Cx) -> CaseResult {
    for owner in [
        String::new(),
        "x".repeat(256),
        "😀".repeat(256),
        "a\0b".to_owned(),
    ] {
        claim(cx, ClaimRequest::new(&*owner, LEASE), "owner").await?;
        update(cx, JobStatus::Pending, start(&owner), "owner").await?;
    }
    Ok(())
}

pub(crate) async fn params_that_are_no_object_are_refused(cx: &Cx) -> CaseResult {
    for text in ["", " ", "[]", "1", "\"a\"", "null", "true"] {
        let checked = create(cx, NewJob::new("job", text), "params").await;
        checked.map_err(|failure| failure.when(format!("params {text:?}")))?;
        filter(cx, JobFilter::default().with_params(text), "params").await?;
    }
    Ok(())
}

pub(crate) async fn params_that_are_not_strict_json_are_refused(cx: &Cx) -> CaseResult {
    for text in [
        "{",
        "{}}",
        "{} {}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        "{a:1}",
        "{'a':1}",
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":+1}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud83dude00"}"#,
        "{\"a\":\"\n\"}",
        "{/**/}",
        "\u{feff}{}",
        "{}\0",
        "{\"a\":\"\0\"}",
    ] {
        let checked = create(cx, NewJob::new("job", text), "params").await;
        checked.map_err(|failure| failure.when(format!("params {text:?}")))?;
        filter(cx, JobFilter::default().with_params(text), "params").await?;
    }
    Ok(())
}

fn nested(depth: usize) -> String {
    let arrays = depth - 1;
    format!("{{\"a\":{}{}}}", "[".repeat(arrays), "]".repeat(arrays))
}

pub(crate) async fn params_nested_128_deep_are_refused(cx: &Cx) -> CaseResult {
    create(cx, NewJob::new("job", nested(128)), "params").await?;
    filter(cx, JobFilter::default().with_params(nested(128)), "params").await?;
    cx.create(NewJob::new("job", nested(127))).await?;
    Ok(())
}

pub(crate) async fn params_nested_a_million_deep_do_no_harm(cx: &Cx) -> CaseResult {
    let open = format!("{{\"a\":{}", "[".repeat(1_000_000));
    let objects = "{\"a\":".repeat(1_000_000);
    for text in [nested(1_000_000), open, objects] {
        create(cx, NewJob::new("job", &*text), "params").await?;
        filter(cx, JobFilter::default().with_params(text), "params").await?;
    }
    Ok(())
}

pub(crate) async fn params_over_8_mib_are_refused(cx: &Cx) -> CaseResult {
    let filling = "x".repeat(validate::MAX_PAYLOAD_BYTES - 7);
    let text = format!("{{\"a\":\"{filling}\"}}");
    create(cx, NewJob::new("job", &*text), "params").await?;
    filter(cx, JobFilter::default().with_params(text), "params").await
}

pub(crate) async fn a_result_over_8_mib_is_refused(cx: &Cx) -> CaseResult {
    let long = "x".repeat(validate::MAX_PAYLOAD_BYTES + 1);
    update(cx, JobStatus::Running, finish(&long), "result").await
}

pub(crate) async fn nul_in_a_result_is_refused(cx: &Cx) -> CaseResult {
    update(cx, JobStatus::Running, finish("a\0b"), "result").await
}

pub(crate) async fn a_timeout_of_zero_is_refused(cx: &Cx) -> CaseResult {
    create(cx, named("job").with_timeout(Duration::ZERO), "timeout").await
}

pub(crate) async fn a_lease_of_zero_is_refused(cx: &Cx) -> CaseResult {
    let zero = Duration::ZERO;
    claim(cx, ClaimRequest::new("ada", zero), "lease").await?;
    update(
        cx,
        JobStatus::Running,
        Action::Renew { lease: zero },
        "lease",
    )
    .await?;
    let lease = Lease {
        owner: "ada".to_owned(),
        duration: zero,
    };
    let start = Action::Start { lease: Some(lease) };
    update(cx, JobStatus::Pending, start, "lease").await
}

pub(crate) async fn page_sizes_out_of_range_are_refused(cx: &Cx) -> CaseResult {
    cx.job("job").await?;
    for size in [0, 1_001, u32::MAX] {
        let page = PageRequest::default().with_size(size);
        let listed = cx.store().list_jobs(&JobFilter::default(), &page).await;
        refused(listed, "size")?;
    }
    Ok(())
}

pub(crate) async fn claim_limits_out_of_range_are_refused(cx: &Cx) -> CaseResult {
    for limit in [0, 1_001, u32::MAX] {
        claim(cx, worker().with_limit(limit), "limit").await?;
    }
    Ok(())
}

pub(crate) async fn retries_out_of_range_are_refused(cx: &Cx) -> CaseResult {
    for max_retries in [validate::MAX_RETRIES + 1, u32::MAX] {
        create(
            cx,
            named("job").with_max_retries(max_retries),
            "max_retries",
        )
        .await?;
        let policy = RetryPolicy {
            max_retries,
            ..RetryPolicy::default()
        };
        let error = "no".to_owned();
        let retry = Action::RetryOrFail { error, policy };
        update(cx, JobStatus::Running, retry, "policy.max_retries").await?;
        let recover = Action::Recover { policy };
        update(cx, JobStatus::Running, recover, "policy.max_retries").await?;
    }
    Ok(())
}

pub(crate) async fn batches_over_1000_items_are_refused(cx: &Cx) -> CaseResult {
    let job = cx.jobs_in(&[JobStatus::Succeeded]).await?.remove(0);
    let store = cx.store();
    let long = validate::MAX_ITEMS + 1;
    refused(store.create_jobs(vec![named("a"); long]).await, "jobs")?;
    let reset = Update::new(job.id, Action::Reset);
    refused(store.update_jobs(vec![reset; long]).await, "updates")?;
    let ids = vec![job.id; long];
    refused(store.get_jobs(&ids).await, "ids")?;
    refused(store.delete_jobs(&DeleteRequest::Ids(ids)).await, "ids")?;
    check_eq!(cx.total().await?, 1);
    cx.unchanged(&job).await
}

pub(crate) async fn lists_over_1000_items_are_refused(cx: &Cx) -> CaseResult {
    let long = validate::MAX_ITEMS + 1;
    let names = || (0..long).map(|n| format!("n{n}")).collect::<Vec<_>>();
    let request = ClaimRequest {
        job_names: names(),
        ..worker()
    };
    claim(cx, request, "job_names").await?;
    let by_names = JobFilter {
        job_names: names(),
        ..JobFilter::default()
    };
    filter(cx, by_names, "job_names").await?;
    let ids: Vec<JobId> = (0..long).map(|_| JobId::generate()).collect();
    filter(cx, JobFilter::default().with_ids(ids), "ids").await
}

pub(crate) async fn a_batch_over_64_mib_is_refused(cx: &Cx) -> CaseResult {
    // Nine times one text of almost 8 MiB, none of them too long by itself. Clones share it.
    let filling = "x".repeat(validate::MAX_PAYLOAD_BYTES - 100);
    let job = NewJob::new("big", format!("{{\"a\":\"{filling}\"}}"));
    refused(cx.store().create_jobs(vec![job; 9]).await, "jobs")?;
    check_eq!(cx.total().await?, 0);
    let jobs = cx.jobs_in(&[JobStatus::Running; 9]).await?;
    let updates = jobs.iter().map(|job| Update::new(job.id, finish(&filling)));
    let result = cx.store().update_jobs(updates.collect()).await;
    refused(result, "updates")?;
    // A batch that is exactly as long is carried out, on jobs that do not exist.
    let whole = "x".repeat(validate::MAX_PAYLOAD_BYTES);
    let updates = vec![Update::new(JobId::generate(), finish(&whole)); 8];
    for verdict in cx.store().update_jobs(updates).await? {
        check_err!(verdict, Error::NotFound { .. });
    }
    // Errors count as well, up to where they are cut.
    let error = "x".repeat(MAX_ERROR_BYTES);
    let mut updates = vec![Update::new(jobs[0].id, fail(&error)); 999];
    updates.push(Update::new(jobs[1].id, finish(&filling)));
    refused(cx.store().update_jobs(updates).await, "updates")?;
    let ids = jobs.iter().map(|job| job.id);
    same_all(&cx.get_all(ids).await?, &jobs)
}

pub(crate) async fn deletions_out_of_range_are_refused(cx: &Cx) -> CaseResult {
    cx.jobs_in(&[JobStatus::Failed]).await?;
    let before = |names: &[&str], statuses: &[JobStatus], limit| DeleteRequest::Before {
        cutoff: Timestamp::MAX,
        job_names: names.iter().map(|name| (*name).to_owned()).collect(),
        statuses: statuses.to_vec(),
        limit,
    };
    let mixed = [JobStatus::Failed, JobStatus::Running];
    for (request, field) in [
        (before(&[], &[], 0), "limit"),
        (before(&[], &[], 1_001), "limit"),
        (before(&[""], &[], 1), "job_names"),
        (before(&["a\0"], &[], 1), "job_names"),
        (before(&[], &mixed, 1), "statuses"),
        (before(&[], &[JobStatus::Pending], 1), "statuses"),
    ] {
        refused(cx.store().delete_jobs(&request).await, field)?;
    }
    check_eq!(cx.total().await?, 1);
    Ok(())
}

pub(crate) async fn a_refusal_shows_no_value(cx: &Cx) -> CaseResult {
    let params = r#"{"password":"canary""#;
    let key = format!("canary{}", "x".repeat(300));
    for job in [NewJob::new("job", params), keyed(&*key), named("canary\0")] {
        let Err(error) = cx.store().create_job(job).await else {
            return Err(Failure::new("a refusal", "success"));
        };
        let text = format!("{error} {error:?}");
        check!(!text.contains("canary"), "no value in {text:?}");
    }
    Ok(())
}

pub(crate) async fn refused_input_is_never_worth_a_retry(cx: &Cx) -> CaseResult {
    let Err(error) = cx.store().create_job(named("")).await else {
        return Err(Failure::new("a refusal", "success"));
    };
    check!(!error.is_retryable(), "an error that is not retryable");
    Ok(())
}

/// Fails a running job with this error, by failing and by retrying; both must keep `stored`.
async fn error_is_kept(cx: &Cx, error: &str, stored: &str) -> CaseResult {
    let (text, policy) = (error.to_owned(), RetryPolicy::default());
    let retry = Action::RetryOrFail {
        error: text,
        policy,
    };
    for action in [fail(error), retry] {
        let job = cx.jobs_in(&[JobStatus::Running]).await?.remove(0);
        let job = cx.update(job.claim(), action).await?;
        check!(
            job.last_error.as_deref() == Some(stored),
            "the error returned"
        );
        cx.unchanged(&job).await?;
    }
    Ok(())
}

pub(crate) async fn nul_in_an_error_is_replaced(cx: &Cx) -> CaseResult {
    error_is_kept(cx, "a\0b\0", "a\u{fffd}b\u{fffd}").await
}

pub(crate) async fn a_long_error_is_cut_at_a_character(cx: &Cx) -> CaseResult {
    let kib64 = 64 * 1024;
    let exact = "x".repeat(kib64);
    error_is_kept(cx, &exact, &exact).await?;
    error_is_kept(cx, &format!("{exact}y"), &exact).await?;
    let nuls = "\0".repeat(kib64);
    error_is_kept(cx, &nuls, &"\u{fffd}".repeat(kib64 / 3)).await?;
    let wide = format!("a{}", "😀".repeat(kib64));
    error_is_kept(cx, &wide, &wide[..kib64 - 3]).await
}

pub(crate) async fn an_error_of_megabytes_is_recorded(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&[JobStatus::Running; 2]).await?;
    let error = "\0".repeat(40 << 20);
    let updates = jobs.iter().map(|job| Update::new(job.id, fail(&error)));
    for job in cx.apply_all(updates.collect()).await? {
        check_eq!(job.status, JobStatus::Failed);
    }
    Ok(())
}

pub(crate) async fn an_empty_error_is_kept(cx: &Cx) -> CaseResult {
    error_is_kept(cx, "", "").await
}
