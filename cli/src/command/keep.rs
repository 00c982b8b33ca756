//! What keeps a store in order: `recover` and `delete`.

use jobstore::validate::MAX_ITEMS;
use jobstore::{DeleteRequest, JobId, JobStore, JobStoreExt as _};

use crate::Result;
use crate::args::{DeleteArgs, RecoverArgs};
use crate::output::Output;
use crate::time::before;

pub(crate) async fn recover(store: &dyn JobStore, args: RecoverArgs, output: Output) -> Result {
    loop {
        let jobs = store
            .recover_expired(&args.job_names, args.policy.into())
            .await?;
        if jobs.is_empty() {
            return Ok(());
        }
        output.outcomes(&jobs)?;
    }
}

/// Writes the ids of the jobs it deleted.
pub(crate) async fn delete(store: &dyn JobStore, args: DeleteArgs, output: Output) -> Result {
    let Some(age) = args.older_than else {
        for ids in args.ids.chunks(MAX_ITEMS) {
            let request = DeleteRequest::Ids(ids.to_vec());
            deleted(&store.delete_jobs(&request).await?, output)?;
        }
        return Ok(());
    };
    // Fixed at the start: jobs that end meanwhile are not chased.
    let cutoff = before(store.now(), age);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let limit = left.min(MAX_ITEMS as u64) as u32;
        let request = DeleteRequest::Before {
            cutoff,
            job_names: args.job_names.clone(),
            statuses: args.statuses.clone(),
            limit,
        };
        let ids = store.delete_jobs(&request).await?;
        deleted(&ids, output)?;
        if ids.len() < limit as usize {
            break;
        }
        left -= ids.len() as u64;
    }
    Ok(())
}

fn deleted(ids: &[JobId], output: Output) -> anyhow::Result<()> {
    ids.iter().try_for_each(|id| match output.is_json() {
        true => output.object(&serde_json::json!({ "id": id })),
        false => output.line(&id.to_string()),
    })
}
