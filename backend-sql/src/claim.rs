//! Claiming.

#[cfg(feature = "sqlite")]
pub(crate) mod reading;

use jobstore_core::{ClaimRequest, Job, Lease, Result, Timestamp};

use crate::dialect::Dialect;
use crate::error::Failure;
use crate::wire::Wire;

/// Claims for each call in turn. Calls for the same names share their statements.
pub(crate) async fn claim<D: Dialect>(
    wire: &mut Wire<'_, D>,
    calls: &[&ClaimRequest],
    now: Timestamp,
) -> Result<Vec<Vec<Job>>, Failure> {
    let mut verdicts: Vec<Vec<Job>> = calls.iter().map(|_| Vec::new()).collect();
    for (names, indexes) in by_names(calls) {
        let leases = indexes.iter().flat_map(|&index| {
            let call = calls[index];
            std::iter::repeat_n((index, &call.lease), call.limit as usize)
        });
        let (callers, leases): (Vec<usize>, Vec<&Lease>) = leases.unzip();
        for (lease, job) in D::claim(wire, names, &leases, now).await? {
            verdicts[callers[lease]].push(job);
        }
    }
    Ok(verdicts)
}

/// The calls, by their numbers, that are for the same names.
fn by_names<'a>(calls: &[&'a ClaimRequest]) -> Vec<(&'a [String], Vec<usize>)> {
    let mut by_names: Vec<(&[String], Vec<usize>)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        match by_names
            .iter_mut()
            .find(|(names, _)| *names == call.job_names)
        {
            Some((_, indexes)) => indexes.push(index),
            None => by_names.push((&call.job_names, vec![index])),
        }
    }
    by_names
}
