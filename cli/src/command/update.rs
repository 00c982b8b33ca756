//! `claim`, and the commands that do one thing to one job.

use jobstore::{Action, ClaimRequest, JobStore, JobStoreExt as _, Lease, Update};

use super::{only_one, text};
use crate::Result;
use crate::args::{ClaimArgs, LeaseArgs, UpdateCommand};
use crate::output::{Output, note};

/// Claiming nothing is no failure: the output is empty.
pub(crate) async fn claim(store: &dyn JobStore, args: ClaimArgs, output: Output) -> Result {
    let mut request =
        ClaimRequest::new(args.lease.owner(), args.lease.lease).with_limit(args.limit);
    request.job_names = args.job_names;
    let jobs = store.claim_jobs(&request).await?;
    if jobs.is_empty() && !output.is_json() {
        note("no job is due");
    }
    output.outcomes(&jobs)?;
    Ok(())
}

pub(crate) async fn update(store: &dyn JobStore, command: UpdateCommand, output: Output) -> Result {
    let update = match command {
        UpdateCommand::Renew { target, lease } => Update::new(target, Action::Renew { lease }),
        UpdateCommand::Start { id, lease, owner } => {
            let lease = lease.map(|lease| {
                let args = LeaseArgs { lease, owner };
                Lease {
                    owner: args.owner(),
                    duration: args.lease,
                }
            });
            Update::new(id, Action::Start { lease })
        }
        UpdateCommand::Finish { target, result } => {
            let result = result.map(text).transpose()?;
            Update::new(target, Action::Finish { result })
        }
        UpdateCommand::Fail { target, error } => {
            let error = text(error)?;
            Update::new(target, Action::Fail { error })
        }
        UpdateCommand::Timeout { target } => Update::new(target, Action::TimeOut),
        UpdateCommand::Retry {
            target,
            error,
            policy,
        } => {
            let (error, policy) = (text(error)?, policy.into());
            Update::new(target, Action::RetryOrFail { error, policy })
        }
        UpdateCommand::Cancel { target } => Update::new(target, Action::Cancel),
        UpdateCommand::Reset { target } => Update::new(target, Action::Reset),
    };
    let job = store.update_job(update).await.map_err(only_one)?;
    output.outcomes([&job])?;
    Ok(())
}
