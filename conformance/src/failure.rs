//! How a case says what it saw instead of what the contract promises.

use std::fmt;
use std::panic::Location;

use jobstore_core::{Error, Job};

/// What a case comes to.
pub type CaseResult<T = ()> = Result<T, Failure>;

/// A promise that a store did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule's id; empty until the case that failed is known.
    pub rule: &'static str,
    /// What the contract promises.
    pub expected: String,
    /// What the store did.
    pub got: String,
    /// What was asked of the store last, and what it said, oldest first.
    pub calls: Vec<String>,
    /// The line of the suite that noticed.
    pub location: &'static Location<'static>,
}

impl Failure {
    /// A failure noticed by the caller.
    #[track_caller]
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            rule: "",
            expected: clipped(&expected.into()),
            got: clipped(&got.into()),
            calls: Vec::new(),
            location: Location::caller(),
        }
    }

    /// The same failure as one of this rule.
    #[must_use]
    pub fn of(self, rule: &'static str) -> Self {
        Self { rule, ..self }
    }

    /// The same failure after these calls.
    #[must_use]
    pub(crate) fn after(self, calls: Vec<String>) -> Self {
        Self { calls, ..self }
    }

    /// The same failure, saying in what circumstances.
    #[must_use]
    pub fn when(self, circumstances: impl fmt::Display) -> Self {
        let expected = format!("{} ({circumstances})", self.expected);
        Self { expected, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            expected,
            got,
            calls,
            location,
        } = self;
        write!(f, "{rule}\n  expected: {expected}\n       got: {got}")?;
        for (index, call) in calls.iter().enumerate() {
            let title = if index == 0 { "     after:" } else { "" };
            write!(f, "\n{title:11} {call}")?;
        }
        write!(f, "\n        at: {location}")
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    /// An error where a case needs success.
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new("success", format!("{error:?}"))
    }
}

/// Texts of megabytes would bury what went wrong.
pub(crate) fn clipped(text: &str) -> String {
    cut(text, 1_000)
}

/// No more than about this many bytes of a text.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes);
    format!("{}… ({} bytes)", &text[..end], text.len())
}

/// Two texts that differ, long ones from shortly before the place where they begin to.
pub(crate) fn differing(expected: &str, got: &str) -> (String, String) {
    /// What is shown of a long text, and how much of it is alike.
    const SHOWN: (usize, usize) = (300, 60);
    if expected.len().max(got.len()) <= SHOWN.0 {
        return (expected.to_owned(), got.to_owned());
    }
    let pairs = expected.bytes().zip(got.bytes());
    let alike = pairs.take_while(|(a, b)| a == b).count();
    let show = |text: &str| {
        let from = text.floor_char_boundary(alike.saturating_sub(SHOWN.1));
        let to = text.floor_char_boundary((from + SHOWN.0).min(text.len()));
        let before = if from > 0 { "…" } else { "" };
        let after = if to < text.len() { "…" } else { "" };
        let len = text.len();
        format!(
            "{before}{}{after} ({len} bytes, alike for {alike})",
            &text[from..to]
        )
    };
    (show(expected), show(got))
}

/// Fails unless a condition holds: `check!(page.token.is_none(), "no token at the end")`.
macro_rules! check {
    ($condition:expr, $($expected:tt)+) => {
        if !$condition {
            let got = concat!("`", stringify!($condition), "` is false");
            return Err($crate::Failure::new(format!($($expected)+), got));
        }
    };
}

/// Fails unless two values are equal: `check_eq!(got, expected)`, with an optional circumstance.
macro_rules! check_eq {
    ($got:expr, $expected:expr $(,)?) => { check_eq!($got, $expected, "as asked") };
    // A match, because what the values borrow from must live until they are compared.
    ($got:expr, $expected:expr, $($when:tt)+) => {
        match (&$got, &$expected) {
            (got, expected) => {
                if *got != *expected {
                    let (expected, got) = $crate::failure::differing(
                        &format!("{expected:?}"),
                        &format!("{got:?}"),
                    );
                    let expected = format!("{} = {expected}", stringify!($got));
                    let failure = $crate::Failure::new(expected, got);
                    return Err(failure.when(format!($($when)+)));
                }
            }
        }
    };
}

/// Fails unless a result is an error of this pattern:
/// `check_err!(verdict, Error::NotFound { id } if id == job.id)`.
macro_rules! check_err {
    ($result:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => {
                let expected = concat!("Err(", stringify!($pattern), ")" $(, " if ", stringify!($guard))?);
                return Err($crate::Failure::new(expected, format!("{other:?}")));
            }
        }
    };
}

pub(crate) use {check, check_eq, check_err};

/// Fails unless the jobs are the same in every field, naming those that differ.
///
/// Not by `Debug`, which shows neither params nor results.
#[track_caller]
pub(crate) fn same(got: &Job, expected: &Job) -> CaseResult {
    if got == expected {
        return Ok(());
    }
    let pairs = fields(expected).into_iter().zip(fields(got));
    let unequal = pairs.filter(|(expected, got)| expected != got);
    let (expected_fields, got_fields): (Vec<String>, Vec<String>) = unequal
        .map(|((name, expected), (_, got))| {
            let (expected, got) = differing(&expected, &got);
            (format!("{name}: {expected}"), format!("{name}: {got}"))
        })
        .unzip();
    Err(Failure::new(
        format!("job {} with {}", expected.id, expected_fields.join(", ")),
        got_fields.join(", "),
    ))
}

/// Fails unless these are the same jobs in the same order.
#[track_caller]
pub(crate) fn same_all<'a>(
    got: impl IntoIterator<Item = &'a Job>,
    expected: impl IntoIterator<Item = &'a Job>,
) -> CaseResult {
    let (got, expected): (Vec<_>, Vec<_>) =
        (got.into_iter().collect(), expected.into_iter().collect());
    let ids = |jobs: &[&Job]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    if ids(&got) != ids(&expected) {
        let show = |jobs: &[&Job]| format!("{} jobs: {:?}", jobs.len(), ids(jobs));
        return Err(Failure::new(show(&expected), show(&got)));
    }
    for (got, expected) in got.iter().zip(expected) {
        same(got, expected)?;
    }
    Ok(())
}

/// Every field as text, so that a difference can be shown by name.
fn fields(job: &Job) -> Vec<(&'static str, String)> {
    // Taken apart by name, so that a new field cannot be forgotten here.
    let Job {
        id,
        job_name,
        params,
        timeout,
        status,
        result,
        retry_count,
        creation_time,
        last_update_time,
        priority,
        next_attempt_at,
        max_retries,
        unique_key,
        lease_owner,
        lease_expires_at,
        fence,
        last_error,
    } = job;
    vec![
        ("id", format!("{id}")),
        ("job_name", format!("{job_name:?}")),
        ("params", format!("{:?}", params.as_str())),
        ("timeout", format!("{timeout:?}")),
        ("status", format!("{status}")),
        ("result", format!("{result:?}")),
        ("retry_count", format!("{retry_count}")),
        ("creation_time", format!("{creation_time}")),
        ("last_update_time", format!("{last_update_time}")),
        ("priority", format!("{priority}")),
        ("next_attempt_at", format!("{next_attempt_at}")),
        ("max_retries", format!("{max_retries:?}")),
        ("unique_key", format!("{unique_key:?}")),
        ("lease_owner", format!("{lease_owner:?}")),
        ("lease_expires_at", format!("{lease_expires_at:?}")),
        ("fence", format!("{fence}")),
        ("last_error", format!("{last_error:?}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::differing;

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let (a, b) = ("é".repeat(400), format!("{}x", "é".repeat(350)));
        let (expected, got) = differing(&a, &b);
        assert!(expected.starts_with("…é"), "{expected}");
        assert!(
            expected.ends_with("é (800 bytes, alike for 700)"),
            "{expected}"
        );
        assert!(got.ends_with("éx (701 bytes, alike for 700)"), "{got}");
        assert!(got.len() < 200, "{got}");
    }

    #[test]
    fn short_texts_are_shown_whole() {
        let shown = differing("ab", "ac");
        assert_eq!(shown, ("ab".to_owned(), "ac".to_owned()));
    }
}
