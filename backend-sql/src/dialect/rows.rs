//! Rows of values in a statement: how many fit in one, and how they are written.

use jobstore_core::Error;
use sqlx::QueryBuilder;

use super::{Dialect, Driver, Value};

/// Whether all of these rows have the same in this column.
pub(crate) fn are_alike(rows: &[Vec<Value>], column: usize) -> bool {
    rows.iter().all(|row| row[column] == rows[0][column])
}

/// See [`Dialect::LENGTHS`].
pub(crate) const LENGTHS: [usize; 6] = [1000, 256, 64, 16, 4, 1];

/// Lengths of which up to a thousand rows take five at most, mostly two or three.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) const FINE_LENGTHS: [usize; 20] = [
    1000, 768, 512, 384, 256, 192, 128, 100, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1,
];

/// Splits rows into as few pieces as statements of these lengths allow, the most first.
pub(crate) fn pieces<'a, T: Sync>(
    mut rows: &'a [T],
    lengths: &'static [usize],
) -> impl Iterator<Item = &'a [T]> + Send {
    std::iter::from_fn(move || {
        let mut lengths = lengths.iter().copied();
        let length = lengths.find(|length| *length <= rows.len())?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// What a statement needs beside the values of its rows, in bytes, and what a value needs beside
/// itself: its own id and words where each row is told by its id.
const BESIDE: (usize, usize) = (8192, 64);

/// Splits rows into pieces whose statements are far from the longest that the engine takes, but for
/// a row that is long by itself.
pub(crate) fn fitting(
    mut rows: &[Vec<Value>],
    packet: usize,
) -> impl Iterator<Item = &[Vec<Value>]> + Send {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rows.iter().take_while(|row| {
            let beside = row.len() * BESIDE.1;
            bytes += row.iter().map(Value::bytes).sum::<usize>() + beside;
            bytes <= packet / 4
        });
        let length = fit.count().max(1).min(rows.len());
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        (length > 0).then_some(piece)
    })
}

/// Refuses a row with so many bytes of text that no statement can carry it. Sent all the same, it
/// would cost the connection.
pub(crate) fn fits(
    bytes: usize,
    packet: usize,
    field: impl FnOnce() -> String,
) -> Result<(), Error> {
    if bytes.saturating_add(BESIDE.0) <= packet {
        return Ok(());
    }
    let most = "the server takes statements of";
    let reason = format!("{most} {packet} bytes at most (max_allowed_packet)");
    Err(Error::invalid(field(), reason))
}

/// The least of the lengths that so many rows fit.
pub(crate) fn filled<D: Dialect>(rows: usize) -> usize {
    let mut lengths = D::LENGTHS.iter().rev();
    let length = lengths.find(|length| **length >= rows);
    *length.unwrap_or(&rows)
}

/// Writes `(?, ?, …)`. The last value is repeated up to one of the lengths, which changes no set.
pub(crate) fn push_set<D: Dialect>(statement: &mut QueryBuilder<D>, values: Vec<Value>) {
    let wanted = filled::<D>(values.len());
    let mut last = Value::Text(None);
    let mut written = 0;
    statement.push("(");
    let separate = |statement: &mut QueryBuilder<D>, written: usize| {
        if written > 0 {
            statement.push(", ");
        }
    };
    for value in values {
        separate(statement, written);
        last = value.clone();
        D::push_value(statement, value);
        written += 1;
    }
    while written < wanted {
        separate(statement, written);
        D::push_value(statement, last.clone());
        written += 1;
    }
    statement.push(")");
}

/// Writes `(?, ?), (?, ?), …`.
pub(crate) fn push_rows<'a, D: Driver>(
    statement: &mut QueryBuilder<D>,
    rows: impl IntoIterator<Item = &'a Vec<Value>>,
) {
    for (index, row) in rows.into_iter().enumerate() {
        statement.push(if index == 0 { "(" } else { "), (" });
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                statement.push(", ");
            }
            D::push_value(statement, value.clone());
        }
    }
    statement.push(")");
}
