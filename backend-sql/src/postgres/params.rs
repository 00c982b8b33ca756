//! Finding jobs by their params.

use jobstore_core::{JobId, JobParams, Result};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder};

use crate::dialect::Value;
use crate::error::Failure;
use crate::row;
use crate::wire::Wire;

/// With more jobs found than this, one of them is met soon by reading all jobs in order.
const MANY: usize = 5_000;
/// With more members than this, a job stands in the index as one that is always looked at.
const MEMBERS: usize = 100;
/// The term of those. No member has it.
const ALWAYS: i64 = 0;

/// What the index holds for a job: an array as PostgreSQL writes it.
pub(super) fn terms(params: &Value) -> Value {
    let text = match params {
        Value::Text(Some(text)) => text.as_str(),
        _ => "",
    };
    let terms = JobParams::from(text).terms();
    let terms = terms.filter(|terms| terms.len() <= MEMBERS);
    let terms = terms.unwrap_or_else(|| vec![ALWAYS]);
    let terms: Vec<String> = terms.iter().map(i64::to_string).collect();
    format!("{{{}}}", terms.join(",")).into()
}

/// The jobs that may have all of these terms; none when there are too many.
pub(super) async fn find(
    wire: &mut Wire<'_, Postgres>,
    terms: &[i64],
) -> Result<Option<Vec<JobId>>, Failure> {
    // The one index that can be read in no other way.
    wire.run("SET LOCAL enable_bitmapscan = on").await?;
    let mut statement =
        QueryBuilder::<Postgres>::new("(SELECT id FROM jobs_params WHERE terms @> ");
    statement.push_bind(terms.to_vec());
    statement.push(" OR terms @> ").push_bind(vec![ALWAYS]);
    // Beside them what another program wrote.
    statement.push(format_args!(
        " LIMIT {0}) UNION ALL (SELECT id FROM jobs WHERE indexed = 0 LIMIT {0})",
        MANY + 1
    ));
    let mut ids = Vec::new();
    let each = |row: &PgRow| ids.extend(row::id::<Postgres>(row));
    wire.fetch(statement, each).await?;
    wire.run("SET LOCAL enable_bitmapscan = off").await?;
    Ok((ids.len() <= MANY).then_some(ids))
}
