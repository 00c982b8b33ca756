//! A jobs file: one JSON object per line, read with a bound on memory however long the file is.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use jobstore::validate::{self, MAX_PAYLOAD_BYTES};
use jobstore::{Error, JobId, JobParams, NewJob, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most bytes of a line: the longest params, and room for the rest.
const MAX_LINE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024 * 1024;
const BUFFER_BYTES: usize = 1024 * 1024;

/// The jobs of a file, line by line.
#[derive(Debug)]
pub(super) struct JobLines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

/// A job and where it stands.
#[derive(Debug)]
pub(super) struct NumberedJob {
    pub(super) line: u64,
    pub(super) job: NewJob,
}

/// Why reading stopped at a line.
#[derive(Debug)]
pub(super) enum LineError {
    /// The line is no job; the next one can be read.
    Bad(BadLine),
    /// The file cannot be read any further.
    Read(std::io::Error),
}

/// A line that is no job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: u64,
    /// In characters, counted from one.
    pub(super) column: usize,
    pub(super) reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            reason,
        } = self;
        write!(f, "line {line}, column {column}: {reason}")
    }
}

impl<R: Read> JobLines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            line: Vec::new(),
            number: 0,
            bytes: 0,
        }
    }

    /// How many bytes were read as lines so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the next line was read already, so that taking it will not wait.
    pub(super) fn has_next_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The job of the next line that is not empty.
    pub(super) fn next_job(&mut self) -> Result<Option<NumberedJob>, LineError> {
        while self.next_line()? {
            let line = self.number;
            let text = self.text()?;
            if !text.trim_ascii().is_empty() {
                let job = parse(text).map_err(|(offset, reason)| {
                    let column = column(text, offset);
                    LineError::Bad(BadLine {
                        line,
                        column,
                        reason,
                    })
                })?;
                return Ok(Some(NumberedJob { line, job }));
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<bool, LineError> {
        self.line.clear();
        // A line that was too long may have left much more room than lines need.
        self.line.shrink_to(MAX_LINE_BYTES);
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(LineError::Read)?;
        self.number += 1;
        self.bytes += read as u64;
        if read as u64 == limit && self.line.last() != Some(&b'\n') {
            self.skip_line().map_err(LineError::Read)?;
            let reason = format!("the line is longer than {MAX_LINE_BYTES} bytes");
            return Err(self.bad(1, reason));
        }
        Ok(read > 0)
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        let skipped = self.reader.skip_until(b'\n')?;
        self.bytes += skipped as u64;
        Ok(())
    }

    fn text(&self) -> Result<&str, LineError> {
        // Some programs begin a file with a byte order mark.
        let line = match self.number {
            1 => self
                .line
                .strip_prefix(b"\xEF\xBB\xBF")
                .unwrap_or(&self.line),
            _ => &self.line,
        };
        std::str::from_utf8(line).map_err(|error| {
            let valid = String::from_utf8_lossy(&line[..error.valid_up_to()]);
            self.bad(valid.chars().count() + 1, "not UTF-8".to_owned())
        })
    }

    fn bad(&self, column: usize, reason: String) -> LineError {
        let line = self.number;
        LineError::Bad(BadLine {
            line,
            column,
            reason,
        })
    }
}

/// The members of a line, each with its place in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    job_name: &'a RawValue,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timeout: Option<&'a RawValue>,
    #[serde(borrow)]
    priority: Option<&'a RawValue>,
    #[serde(borrow)]
    next_attempt_at: Option<&'a RawValue>,
    #[serde(borrow)]
    max_retries: Option<&'a RawValue>,
    #[serde(borrow)]
    unique_key: Option<&'a RawValue>,
}

/// The byte of the line at which it is wrong, counted from zero, and how.
type Problem = (usize, String);

fn parse(text: &str) -> Result<NewJob, Problem> {
    // serde would take an array of the members in order as well.
    let start = text.len() - text.trim_ascii_start().len();
    if !text[start..].starts_with('{') {
        return Err((start, "expected a job: a JSON object".to_owned()));
    }
    let line: Line<'_> =
        serde_json::from_str(text).map_err(|error| (offset(&error), reason(&error)))?;
    let place = |value: &RawValue| value.get().as_ptr().addr() - text.as_ptr().addr();
    let timeout = match line.timeout {
        Some(value) => {
            let seconds: f64 = member(text, "timeout", value)?;
            let timeout = Duration::try_from_secs_f64(seconds);
            let wrong = |error| (place(value), format!("invalid timeout: {error}"));
            Some(timeout.map_err(wrong)?)
        }
        None => None,
    };
    let job = NewJob {
        id: optional::<JobId>(text, "id", line.id)?,
        job_name: member(text, "job_name", line.job_name)?,
        params: JobParams::new(line.params.get()),
        timeout,
        priority: optional(text, "priority", line.priority)?.unwrap_or(0),
        next_attempt_at: optional::<Timestamp>(text, "next_attempt_at", line.next_attempt_at)?,
        max_retries: optional(text, "max_retries", line.max_retries)?,
        unique_key: optional(text, "unique_key", line.unique_key)?,
    };
    // The store checks again; here the line is known, and for a file nothing is stored yet.
    validate::new_jobs(std::slice::from_ref(&job)).map_err(|error| {
        let Error::InvalidArgument { field, reason } = error else {
            return (0, error.to_string());
        };
        let field = field.trim_start_matches("jobs[0].");
        let value = match field {
            "job_name" => Some(line.job_name),
            "params" => Some(line.params),
            "timeout" => line.timeout,
            "max_retries" => line.max_retries,
            "unique_key" => line.unique_key,
            _ => None,
        };
        (value.map_or(0, place), format!("invalid {field}: {reason}"))
    })?;
    Ok(job)
}

fn optional<'a, T: Deserialize<'a>>(
    text: &str,
    name: &str,
    value: Option<&'a RawValue>,
) -> Result<Option<T>, Problem> {
    value.map(|value| member(text, name, value)).transpose()
}

fn member<'a, T: Deserialize<'a>>(
    text: &str,
    name: &str,
    value: &'a RawValue,
) -> Result<T, Problem> {
    serde_json::from_str(value.get()).map_err(|error| {
        let place = value.get().as_ptr().addr() - text.as_ptr().addr();
        // The start of the value: what stands inside is short enough to be found.
        (place, format!("invalid {name}: {}", reason(&error)))
    })
}

/// Where in its text serde_json found the error, as a byte counted from zero.
fn offset(error: &serde_json::Error) -> usize {
    error.column().saturating_sub(1)
}

/// What serde_json says, without its own idea of the place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// The column of a byte, in characters counted from one.
fn column(text: &str, offset: usize) -> usize {
    let end = text.floor_char_boundary(offset);
    text[..end].chars().count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(line: &str) -> (usize, String) {
        let (offset, reason) = parse(line).expect_err(line);
        (column(line, offset), reason)
    }

    #[test]
    fn every_member_is_taken() {
        let line = r#"{"id":"0190f3a0-0000-7000-8000-000000000001","job_name":"mail","params":
            {"a": 1.0},"timeout":1.5,"priority":-3,"next_attempt_at":7,"max_retries":0,
            "unique_key":"k"}"#;
        let job = parse(&line.replace('\n', " ")).expect("is a job");
        let id = "0190f3a0-0000-7000-8000-000000000001".parse().expect("id");
        let wanted = NewJob::new("mail", r#"{"a": 1.0}"#)
            .with_id(id)
            .with_timeout(Duration::from_millis(1500))
            .with_priority(-3)
            .with_next_attempt_at(Timestamp::from_millis(7))
            .with_max_retries(0)
            .with_unique_key("k");
        assert_eq!(job, wanted);
    }

    #[test]
    fn a_bad_line_is_named_with_its_column_in_characters() {
        assert_eq!(bad(r#"{"job_name":"é","params":{"a":}}"#).0, 31);
        let place = |line| bad(line).0;
        assert_eq!(place(r#"{"job_name":"","params":{}}"#), 13);
        assert_eq!(place(r#"{"job_name":"é","params":[]}"#), 26);
        assert_eq!(place(r#"{"job_name":"a","params":{},"timeout":0}"#), 39);
        assert_eq!(
            place(r#"{"job_name":"a","params":{},"priority":40000}"#),
            40
        );
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let why = |line: &str| bad(line).1;
        assert!(why(r#"{"job_name":"a"}"#).contains("missing field `params`"));
        assert!(why(r#"{"job_name":"a","params":{},"prio":1}"#).contains("unknown field `prio`"));
        assert!(why(r#"{"job_name":"a","job_name":"b","params":{}}"#).contains("duplicate"));
        assert_eq!(
            bad(r#" ["a",{}]"#),
            (2, "expected a job: a JSON object".to_owned())
        );
        assert!(why(r#"{"job_name":"a","params":{},"timeout":-1}"#).contains("timeout"));
        assert!(why(r#"{"job_name":"a","params":{},"id":"7"}"#).contains("UUID"));
        let deep = "[".repeat(1_000_000);
        assert!(!why(&format!(r#"{{"job_name":"a","params":{{"a":{deep}"#)).is_empty());
        let closed = "]".repeat(1_000_000);
        let line = format!(r#"{{"job_name":"a","params":{{"a":{deep}{closed}}}}}"#);
        assert!(why(&line).starts_with("invalid params"));
    }

    #[test]
    fn reading_goes_on_after_a_bad_line() {
        let good = r#"{"job_name":"a","params":{}}"#;
        let long = "x".repeat(MAX_LINE_BYTES + 7);
        let text = format!("\u{feff}{good}\r\n\n  \n{long}\n{good}");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(b"\n{\xff\n");
        let mut lines = JobLines::new(&bytes[..]);
        let mut seen = Vec::new();
        loop {
            match lines.next_job() {
                Ok(Some(job)) => seen.push((job.line, "good".to_owned())),
                Ok(None) => break,
                Err(LineError::Bad(bad)) => seen.push((bad.line, bad.reason)),
                Err(LineError::Read(error)) => panic!("{error}"),
            }
        }
        let why = |index: usize| seen[index].1.as_str();
        assert_eq!(
            seen.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [1, 4, 5, 6]
        );
        assert!(why(1).contains("longer than") && why(3) == "not UTF-8");
        assert_eq!(lines.bytes(), bytes.len() as u64);
    }
}
