//! What a job can be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Where a job stands. The integers are the stored form, the same as MLflow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(i32)]
pub enum JobStatus {
    /// Waiting to be started or claimed.
    Pending = 0,
    /// Started or claimed by somebody.
    Running = 1,
    /// Finished; `result` holds the payload.
    Succeeded = 2,
    /// Failed for good; `result` holds the error.
    Failed = 3,
    /// Ran longer than it may.
    Timeout = 4,
    /// Called off.
    Canceled = 5,
}

impl JobStatus {
    /// Every status, in the order of the integers.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Timeout,
        Self::Canceled,
    ];

    /// The stored integer.
    pub const fn as_i32(self) -> i32 {
        self as i32
    }

    /// The status stored as `value`, if there is one.
    pub fn from_i32(value: i32) -> Option<Self> {
        usize::try_from(value)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
    }

    /// Whether the job has ended: neither pending nor running.
    pub const fn is_finalized(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The name in upper case, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Canceled => "CANCELED",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = Error;

    /// Reads a name in any case.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::invalid("status", "not a job status"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_its_integer_and_its_name() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::from_i32(status.as_i32()), Some(status));
            assert_eq!(
                status.as_str().parse::<JobStatus>().expect("parses"),
                status
            );
        }
        assert_eq!(JobStatus::from_i32(6), None);
        assert_eq!(JobStatus::from_i32(-1), None);
    }
}
