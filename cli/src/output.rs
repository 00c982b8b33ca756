//! What goes to standard output: tables for people, JSON lines for programs.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width};
use jobstore::{Job, StatusCounts, Timestamp};
use serde::Serialize;

use crate::time::{absolute, relative};

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

/// Nobody reads standard output any more.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ReaderGone {}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Writes one line, and has it read before going on.
    pub(crate) fn line(self, text: &str) -> anyhow::Result<()> {
        self.lines([text])
    }

    fn lines<T: AsRef<str>>(self, lines: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        let written = lines
            .into_iter()
            .try_for_each(|line| writeln!(stdout, "{}", line.as_ref()))
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // What is still in the buffer would be tried again on drop.
                let _ = stdout.into_parts();
                Err(ReaderGone.into())
            }
            written => Ok(written?),
        }
    }

    /// Writes one JSON object.
    pub(crate) fn object(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Writes what became of each job: a line each.
    pub(crate) fn outcomes<'a>(
        self,
        jobs: impl IntoIterator<Item = &'a Job>,
    ) -> anyhow::Result<()> {
        let line = |job: &Job| match self.json {
            true => serde_json::to_string(job),
            false => Ok(outcome(job)),
        };
        let lines: Vec<String> = jobs.into_iter().map(line).collect::<Result<_, _>>()?;
        self.lines(lines)
    }

    /// Writes everything there is to know about a job.
    pub(crate) fn details(self, job: &Job, now: Timestamp) -> anyhow::Result<()> {
        if self.json {
            return self.object(job);
        }
        let time = |at| format!("{} ({})", absolute(at), relative(at, now));
        let fields = [
            ("id", Some(job.id.to_string())),
            ("job_name", Some(job.job_name.clone())),
            ("status", Some(job.status.to_string())),
            ("params", Some(job.params.as_str().to_owned())),
            ("result", job.result.clone()),
            ("last_error", job.last_error.clone()),
            ("timeout", job.timeout.map(|timeout| format!("{timeout:?}"))),
            ("priority", Some(job.priority.to_string())),
            ("retry_count", Some(job.retry_count.to_string())),
            ("max_retries", job.max_retries.map(|max| max.to_string())),
            ("unique_key", job.unique_key.clone()),
            ("fence", Some(job.fence.to_string())),
            ("lease_owner", job.lease_owner.clone()),
            ("lease_expires_at", job.lease_expires_at.map(time)),
            ("next_attempt_at", Some(time(job.next_attempt_at))),
            ("creation_time", Some(time(job.creation_time))),
            ("last_update_time", Some(time(job.last_update_time))),
        ];
        self.fields(
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        )
    }

    /// Writes names and values.
    pub(crate) fn fields<'a>(
        self,
        fields: impl IntoIterator<Item = (&'a str, String)>,
    ) -> anyhow::Result<()> {
        self.lines(fields.into_iter().map(|(name, value)| {
            // Lines of a text stand below each other.
            let value = value.trim_end().replace('\n', "\n                  ");
            format!("{name:<17} {}", printable(&value, true))
        }))
    }

    /// Writes the jobs of one page; with `header`, below the names of the columns.
    pub(crate) fn page(self, jobs: &[Job], now: Timestamp, header: bool) -> anyhow::Result<()> {
        if self.json {
            return self.outcomes(jobs);
        }
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if header {
            let mut header = Row::from(["ID", "NAME", "STATUS", "RUNS", "UPDATED", "RESULT"]);
            table.set_header(header.max_height(1).clone());
        }
        for job in jobs {
            let mut row = Row::from([
                job.id.to_string(),
                printable(&job.job_name, false),
                job.status.to_string(),
                job.fence.to_string(),
                relative(job.last_update_time, now),
                summary(job),
            ]);
            table.add_row(row.max_height(1).clone());
        }
        if let Some(width) = terminal_width() {
            table.set_width(width);
            table.set_constraints(widths(width));
        } else {
            table.force_no_tty();
        }
        self.lines(table.lines().map(|line| line.trim_end().to_owned()))
    }

    /// Writes a number for each status.
    pub(crate) fn counts(self, counts: &StatusCounts) -> anyhow::Result<()> {
        if self.json {
            let counts = counts
                .iter()
                .map(|(status, jobs)| (status.as_str(), jobs.into()));
            return self.object(&serde_json::Map::from_iter(
                counts.map(|(status, jobs): (_, serde_json::Value)| (status.to_owned(), jobs)),
            ));
        }
        let lines = counts
            .iter()
            .map(|(status, jobs)| format!("{status:<9} {jobs:>10}"));
        self.lines(lines.chain([format!("{:<9} {:>10}", "total", counts.total())]))
    }
}

/// Says to people, on standard error, what they may want to know.
pub(crate) fn note(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{}", printable(text, false));
}

/// Reports an error with its causes as one line.
pub(crate) fn report(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

fn outcome(job: &Job) -> String {
    let name = printable(&job.job_name, false);
    let run = match job.fence {
        0 => String::new(),
        fence => format!(" fence {fence}"),
    };
    format!("{} {} {name}{run}", job.id, job.status)
}

/// The start of what a job came to, as far as a line of a table may need it.
fn summary(job: &Job) -> String {
    let text = job.result.as_ref().or(job.last_error.as_ref());
    let text: String = text
        .into_iter()
        .flat_map(|text| text.chars())
        .take(200)
        .collect();
    printable(text.trim_end(), false)
}

/// The text with what could steer a terminal replaced, line breaks as well unless they are kept.
fn printable(text: &str, keep_lines: bool) -> String {
    let shown = |c: char| match c {
        '\n' if keep_lines => c,
        '\n' | '\t' | '\r' => ' ',
        // Direction overrides show a text in another order than it has.
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// How wide the terminal is, if standard output is one.
fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(size.ws_col).filter(|width| *width > 0)
}

/// Columns that fit a terminal of this width, the same for every page of a listing; those that
/// matter least give way first.
fn widths(width: u16) -> [ColumnConstraint; 6] {
    let fixed = |width| ColumnConstraint::Absolute(Width::Fixed(width));
    let shown = |from, columns| match width >= from {
        true => fixed(columns),
        false => ColumnConstraint::Hidden,
    };
    // Each column has a blank on both sides.
    let (id, status, runs, updated) = (38, 11, 6, 10);
    let rest = match width {
        ..60 => width.saturating_sub(id + status),
        60..72 => width - id - status - runs,
        _ => width - id - status - runs - updated,
    };
    let name = match width {
        ..100 => rest.max(3),
        _ => (rest / 2).min(32),
    };
    [
        fixed(id),
        fixed(name),
        fixed(status),
        shown(60, runs),
        shown(72, updated),
        shown(100, rest.saturating_sub(name)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            printable("a\x1b[2J\u{9b}\u{202e}b\nc", false),
            "a\u{FFFD}[2J\u{FFFD}\u{FFFD}b c"
        );
        assert_eq!(printable("a\nb\0", true), "a\nb\u{FFFD}");
    }

    #[test]
    fn the_columns_fit_every_terminal_wide_enough_for_an_id() {
        for width in 52..=300 {
            let columns = widths(width).map(|constraint| match constraint {
                ColumnConstraint::Absolute(Width::Fixed(columns)) => columns,
                _ => 0,
            });
            assert!(columns.iter().sum::<u16>() <= width, "{width}: {columns:?}");
        }
    }
}
