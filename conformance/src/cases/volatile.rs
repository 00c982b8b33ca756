//! What holds of a store that does not claim to keep its jobs.

use jobstore_core::{JobFilter, JobStatus};

use crate::Cx;
use crate::failure::{CaseResult, check_eq, same};

pub(crate) async fn it_opens_again_and_works(cx: &Cx) -> CaseResult {
    cx.job("before").await?;
    cx.reopen().await?;
    let job = cx.job("after").await?;
    cx.unchanged(&job).await?;
    cx.claim_one().await?;
    Ok(())
}

pub(crate) async fn each_job_is_as_it_was_or_gone(cx: &Cx) -> CaseResult {
    let jobs = cx.jobs_in(&JobStatus::ALL).await?;
    cx.reopen().await?;
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let got = cx.store().get_jobs(&ids).await?;
    for (got, job) in got.iter().zip(&jobs) {
        if let Some(got) = got {
            same(got, job)?;
        }
    }
    let left = got.iter().flatten().count();
    check_eq!(cx.list(&JobFilter::default()).await?.len(), left, "listed");
    check_eq!(cx.total().await?, left as u64, "counted");
    Ok(())
}
