//! The statements that PostgreSQL can do better than the others.

use sqlx::Postgres;

use super::params;
use crate::dialect::{Ids, Statement, Value};
use crate::row;

/// Writes `unnest(?, ?, …)` with an array for each column.
pub(super) fn push_unnest(statement: &mut Statement<Postgres>, rows: &[Vec<Value>]) {
    let columns = rows.first().map_or(0, Vec::len);
    statement.push("unnest(");
    for column in 0..columns {
        if column > 0 {
            statement.push(", ");
        }
        push_array(statement, &mut rows.iter().map(|row| row[column].clone()));
    }
    statement.push(")");
}

/// Writes the jobs, and what the index of params holds for them.
pub(super) fn push_insert(
    statement: &mut Statement<Postgres>,
    columns: &str,
    rows: &[Vec<Value>],
    ids: Ids,
) {
    statement.push("WITH new AS (SELECT * FROM ");
    let with_terms = rows.iter().map(|row| {
        let mut row = row.clone();
        row.push(params::terms(&row[row::PARAMS]));
        row
    });
    push_unnest(statement, &with_terms.collect::<Vec<_>>());
    statement.push(format_args!(
        " AS new ({columns}, terms)), \
         job AS (INSERT INTO jobs ({columns}, indexed) SELECT {columns}, 1 FROM new) \
         INSERT INTO jobs_params (id, terms) \
         SELECT id, CAST(terms AS BIGINT[]) FROM new WHERE terms <> '{{}}'"
    ));
    if ids == Ids::Given {
        // Another program may have deleted a job of this id, and left its terms.
        statement.push(" ON CONFLICT (id) DO UPDATE SET terms = EXCLUDED.terms");
    }
}

/// Writes a placeholder for an array; all values are of the first one's type.
pub(super) fn push_array(
    statement: &mut Statement<Postgres>,
    values: &mut dyn Iterator<Item = Value>,
) {
    let mut values = values.peekable();
    match values.peek() {
        Some(Value::Int(_)) => statement.push_bind(values.map(Value::into_int).collect::<Vec<_>>()),
        Some(Value::Real(_)) => {
            statement.push_bind(values.map(Value::into_real).collect::<Vec<_>>())
        }
        Some(Value::Text(_)) | None => {
            statement.push_bind(values.map(Value::into_text).collect::<Vec<_>>())
        }
    };
}
