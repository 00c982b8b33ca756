//! Text is compared by code point and kept byte for byte.

use jobstore_core::{ClaimRequest, JobFilter, JobStatus, NewJob, Update, validate};

use crate::Cx;
use crate::cx::{LEASE, fail, finish, worker};
use crate::failure::{CaseResult, Failure, check_eq};

/// Texts that some engine, collation or quoting takes for one another, or cannot hold.
const NASTY: &[&str] = &[
    "key",
    "KEY",
    "Key",
    "key ",
    "key  ",
    " key",
    "key\t",
    "key\n",
    "\n",
    " ",
    "kéy",
    "ke\u{301}y",
    "é",
    "e\u{301}",
    "e",
    "ß",
    "ss",
    "ẞ",
    "İ",
    "i",
    "I",
    "ı",
    "😀",
    "🔥",
    "👩\u{200d}💻",
    "👩💻",
    "\u{200b}",
    "\u{feff}key",
    "\u{202e}yek",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{fffd}",
    "\u{7f}",
    "\u{1}",
    "a%",
    "a_",
    "ab",
    "%",
    "_",
    "'",
    "''",
    "\"",
    "\\",
    "\\\\",
    "\\'",
    "`",
    "'; DROP TABLE jobs; --",
    "--",
    "/*",
    "$1",
    "?",
    ":a",
    "@a",
    "{}",
    "[key]",
    "null",
    "NULL",
    "0",
    "00",
    "0.0",
    "1e0",
    "-1",
    "10",
    "9",
    "a/b/../c",
    "a\u{a0}b",
    "a b",
    "Ａ",
    "A",
    "ﬁ",
    "fi",
    "\u{e9}\u{301}",
];

/// Texts of the greatest length, in characters of one and of four bytes. The wide ones repeat
/// nothing, since some engines measure what is left after compression.
fn longest(chars: usize) -> [String; 2] {
    let wide = (0..chars as u32).filter_map(|n| char::from_u32(0x1_0000 + n * 7_919 % 0xF_0000));
    [
        "x".repeat(chars),
        wide.chain(std::iter::repeat('😀')).take(chars).collect(),
    ]
}

fn names() -> Vec<String> {
    let nasty = NASTY.iter().map(|text| (*text).to_owned());
    nasty.chain(longest(validate::MAX_NAME_CHARS)).collect()
}

fn keys() -> Vec<String> {
    let nasty = NASTY.iter().map(|text| (*text).to_owned());
    nasty.chain(longest(validate::MAX_KEY_CHARS)).collect()
}

pub(crate) async fn names_come_back(cx: &Cx) -> CaseResult {
    let names = names();
    let jobs = cx
        .create_all(names.iter().map(|name| NewJob::new(name, "{}")))
        .await?;
    let stored = cx.get_all(jobs.iter().map(|job| job.id)).await?;
    for (job, name) in stored.iter().zip(&names) {
        check_eq!(job.job_name, *name);
    }
    Ok(())
}

pub(crate) async fn a_listing_takes_no_name_for_another(cx: &Cx) -> CaseResult {
    let names = names();
    let jobs = cx
        .create_all(names.iter().map(|name| NewJob::new(name, "{}")))
        .await?;
    for (job, name) in jobs.iter().zip(&names) {
        let filter = JobFilter::default().with_job_name(name);
        let found = cx.list(&filter).await?;
        let found: Vec<_> = found.iter().map(|job| job.id).collect();
        check_eq!(found, [job.id], "name {name:?}");
        check_eq!(cx.count(&filter).await?.total(), 1, "name {name:?}");
    }
    Ok(())
}

pub(crate) async fn a_claim_takes_no_name_for_another(cx: &Cx) -> CaseResult {
    let names = names();
    let jobs = cx
        .create_all(names.iter().map(|name| NewJob::new(name, "{}")))
        .await?;
    for (job, name) in jobs.iter().zip(&names) {
        let request = worker().with_limit(10).with_job_name(name);
        let claimed = cx.store().claim_jobs(&request).await?;
        let claimed: Vec<_> = claimed.iter().map(|job| job.id).collect();
        check_eq!(claimed, [job.id], "name {name:?}");
    }
    Ok(())
}

pub(crate) async fn a_deletion_takes_no_name_for_another(cx: &Cx) -> CaseResult {
    let names = names();
    let jobs = cx
        .create_all(names.iter().map(|name| NewJob::new(name, "{}")))
        .await?;
    let jobs = cx
        .bring(&jobs, &vec![JobStatus::Failed; jobs.len()])
        .await?;
    for job in &jobs {
        let request = jobstore_core::DeleteRequest::Before {
            cutoff: jobstore_core::Timestamp::MAX,
            job_names: vec![job.job_name.clone()],
            statuses: Vec::new(),
            limit: 10,
        };
        let deleted = cx.store().delete_jobs(&request).await?;
        check_eq!(deleted, [job.id], "name {:?}", job.job_name);
    }
    Ok(())
}

pub(crate) async fn no_unique_key_is_taken_for_another(cx: &Cx) -> CaseResult {
    let keys = keys();
    let batch = || {
        let jobs = keys.iter();
        jobs.map(|key| NewJob::new("job", "{}").with_unique_key(key))
    };
    let created = cx.create_all(batch()).await?;
    let again = cx.store().create_jobs(batch().collect()).await?;
    check_eq!(again.len(), created.len());
    for (found, job) in again.iter().zip(&created) {
        check_eq!(found.is_new(), false, "key {:?}", job.unique_key);
        check_eq!(found.job().id, job.id, "key {:?}", job.unique_key);
        check_eq!(found.job().unique_key, job.unique_key);
    }
    Ok(())
}

pub(crate) async fn one_key_under_names_that_look_alike_is_many(cx: &Cx) -> CaseResult {
    let jobs = names();
    let jobs = jobs.iter();
    cx.create_all(jobs.map(|name| NewJob::new(name, "{}").with_unique_key("key")))
        .await?;
    Ok(())
}

pub(crate) async fn owners_come_back(cx: &Cx) -> CaseResult {
    cx.create_all(vec![NewJob::new("job", "{}"); keys().len()])
        .await?;
    for owner in keys() {
        let request = ClaimRequest::new(&*owner, LEASE);
        let job = cx.store().claim_jobs(&request).await?;
        check_eq!(job.len(), 1);
        check_eq!(job[0].lease_owner.as_deref(), Some(&*owner));
        cx.unchanged(&job[0]).await?;
    }
    Ok(())
}

/// Ends one running job with each text; `stored` tells what came of it.
async fn outcomes(cx: &Cx, action: fn(&str) -> jobstore_core::Action) -> CaseResult {
    let mut texts: Vec<&str> = NASTY.to_vec();
    texts.extend(["", "line\r\nline", "{\"json\": [1, 2]}", "\u{1b}[31mred"]);
    let jobs = cx.jobs_in(&vec![JobStatus::Running; texts.len()]).await?;
    let updates = jobs.iter().zip(&texts);
    let updates = updates.map(|(job, text)| Update::new(job.claim(), action(text)));
    cx.apply_all(updates.collect()).await?;
    let stored = cx.get_all(jobs.iter().map(|job| job.id)).await?;
    for (job, text) in stored.iter().zip(texts) {
        check_eq!(job.result.as_deref(), Some(text));
        if job.status == JobStatus::Failed {
            check_eq!(job.last_error.as_deref(), Some(text));
        }
    }
    Ok(())
}

pub(crate) async fn results_come_back(cx: &Cx) -> CaseResult {
    outcomes(cx, finish).await
}

pub(crate) async fn errors_come_back(cx: &Cx) -> CaseResult {
    outcomes(cx, fail).await
}

pub(crate) async fn params_come_back(cx: &Cx) -> CaseResult {
    // Rust's own escapes are not JSON's, so only what JSON needs is escaped here.
    let escaped = |text: &str| -> String {
        let escape = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            '\0'..='\u{1f}' => format!("\\u{:04x}", u32::from(c)),
            _ => c.to_string(),
        };
        text.chars().map(escape).collect()
    };
    let texts: Vec<String> = NASTY.iter().map(|text| escaped(text)).collect();
    let params = |text: &String| format!("{{\"{text}\":\"{text}\"}}");
    let jobs = cx
        .create_all(texts.iter().map(|text| NewJob::new("job", params(text))))
        .await?;
    let stored = cx.get_all(jobs.iter().map(|job| job.id)).await?;
    for (job, text) in stored.iter().zip(&texts) {
        check_eq!(job.params.as_str(), params(text));
        let filter = JobFilter::default().with_params(params(text));
        let found = cx.list(&filter).await?;
        if found.len() != 1 || found[0].id != job.id {
            let got = format!("{} jobs", found.len());
            return Err(Failure::new(format!("one job with params {text}"), got));
        }
    }
    Ok(())
}
