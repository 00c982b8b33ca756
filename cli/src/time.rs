//! Times and durations as people write and read them.

use std::time::{Duration, UNIX_EPOCH};

use jobstore::Timestamp;

/// A point in time as written: fixed, or counted back from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Fixed(Timestamp),
    Ago(Duration),
}

impl Moment {
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(timestamp) => timestamp,
            Self::Ago(age) => before(now, age),
        }
    }
}

/// The time this long before `now`.
pub(crate) fn before(now: Timestamp, age: Duration) -> Timestamp {
    let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

/// Reads a duration such as `500ms`, `2s` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write for example 500ms, 2s, 1h"))
}

/// Reads a time: as RFC 3339, as milliseconds since the epoch, or as an age.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(millis) = text.parse() {
        return Ok(Moment::Fixed(Timestamp::from_millis(millis)));
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        let since = time
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "a time before 1970".to_owned())?;
        return Ok(Moment::Fixed(
            Timestamp::from_millis(0).saturating_add(since),
        ));
    }
    humantime::parse_duration(text)
        .map(Moment::Ago)
        .map_err(|_| {
            "not a time; write 2030-01-31T12:00:00Z, milliseconds since 1970, or an age such as 2h"
                .to_owned()
        })
}

/// How long ago, or in how long, in its largest unit: `3m ago`, `in 2h`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let millis = now.as_millis().saturating_sub(at.as_millis());
    let seconds = millis.unsigned_abs() / 1000;
    let (count, unit) = match seconds {
        0 => return "now".to_owned(),
        1..60 => (seconds, 's'),
        60..3600 => (seconds / 60, 'm'),
        3600..86_400 => (seconds / 3600, 'h'),
        _ => (seconds / 86_400, 'd'),
    };
    match millis < 0 {
        false => format!("{count}{unit} ago"),
        true => format!("in {count}{unit}"),
    }
}

/// The time in full, or its number where the calendar ends.
pub(crate) fn absolute(at: Timestamp) -> String {
    let time = u64::try_from(at.as_millis())
        .ok()
        .and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    // humantime knows the years up to 9999, and its Display fails past them.
    match time.filter(|_| at.as_millis() < 253_402_300_800_000) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => format!("{} ms", at.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let fixed = |millis| Ok(Moment::Fixed(Timestamp::from_millis(millis)));
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), fixed(1500));
        assert_eq!(moment("1970-01-02 00:00:00"), fixed(86_400_000));
        assert_eq!(moment("-7"), fixed(-7));
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_secs(7200))));
        assert!(moment("tomorrow").is_err());
    }

    #[test]
    fn every_timestamp_can_be_shown() {
        for millis in [i64::MIN, -1, 0, 1, 253_402_300_799_999, i64::MAX] {
            let at = Timestamp::from_millis(millis);
            assert!(!absolute(at).is_empty());
            assert!(!relative(at, Timestamp::from_millis(0)).is_empty());
        }
        let at = |millis| relative(Timestamp::from_millis(0), Timestamp::from_millis(millis));
        assert_eq!(at(59_999), "59s ago");
        assert_eq!(at(-90_000_000), "in 1d");
    }
}
