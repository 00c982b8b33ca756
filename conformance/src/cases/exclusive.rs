//! What holds of a store that does not claim to be open more than once.

use jobstore_core::{Error, JobFilter};

use crate::Cx;
use crate::failure::{CaseResult, Failure, check_eq};

/// Opens a second handle, which must be refused or have nothing to do with the first.
async fn intrude(cx: &Cx) -> CaseResult {
    match cx.surroundings().open().await {
        Err(Error::Unavailable { .. }) => Ok(()),
        Err(error) => Err(Failure::new("Error::Unavailable", format!("{error:?}"))),
        Ok(second) => {
            let counts = second.count_jobs(&JobFilter::default()).await?;
            check_eq!(
                counts.total(),
                0,
                "of the first handle's jobs, by the second"
            );
            Ok(())
        }
    }
}

pub(crate) async fn a_second_handle_is_refused_or_apart(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    intrude(cx).await
}

pub(crate) async fn the_first_handle_is_not_disturbed(cx: &Cx) -> CaseResult {
    let job = cx.job("a").await?;
    intrude(cx).await?;
    cx.unchanged(&job).await?;
    let run = cx.claim_one().await?;
    check_eq!(run.id, job.id);
    cx.unchanged(&run).await
}

pub(crate) async fn a_refused_handle_leaves_no_lock_behind(cx: &Cx) -> CaseResult {
    cx.job("a").await?;
    intrude(cx).await?;
    cx.reopen().await?;
    let job = cx.job("b").await?;
    cx.unchanged(&job).await
}
