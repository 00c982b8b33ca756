//! `check`: whether a store is in order.

use anyhow::anyhow;
use jobstore::{Problem, Repair};

use crate::Result;
use crate::args::CheckArgs;
use crate::output::Output;

/// A line for each problem, then one for all. It fails while a problem is left.
pub(crate) async fn run(url: &str, args: CheckArgs, output: Output) -> Result {
    let repair = match args.repair {
        true => Repair::Indexes,
        false => Repair::No,
    };
    let each = move |problem: &Problem| {
        let told = match output.is_json() {
            true => output.object(&serde_json::json!({
                "problem": problem.text,
                "repaired": problem.is_repairable && args.repair,
            })),
            false => output.line(&problem.text),
        };
        // The check goes on when nobody reads any more: it may be repairing.
        let _ = told;
    };
    let checked = jobstore::check(url, repair, each).await;
    let report = checked.map_err(crate::usage)?;
    match output.is_json() {
        true => output.object(&serde_json::json!({
            "jobs": report.jobs,
            "problems": report.problems,
            "repaired": report.repaired,
        }))?,
        false => output.line(&format!(
            "{} jobs, {} problems, {} repaired",
            report.jobs, report.problems, report.repaired
        ))?,
    }
    match report.problems - report.repaired {
        0 => Ok(()),
        1 => Err(anyhow!("one problem is left").into()),
        left => Err(anyhow!("{left} problems are left").into()),
    }
}
