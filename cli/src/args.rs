//! The command line: what may be written, and what it means.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use jobstore::{Claim, JobFilter, JobId, JobParams, JobStatus, RetryPolicy, Target, Timestamp};

use crate::time::{Moment, duration, moment};

/// Submits, lists and runs jobs.
#[derive(Debug, Parser)]
#[command(name = "jobstore", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the jobs are: sqlite://PATH, sled://PATH, redb://PATH, postgres://USER@HOST/DATABASE,
    /// mysql://USER@HOST/DATABASE
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "JOBSTORE_URL",
        // The URL may hold a password.
        hide_env_values = true,
        default_value = "sqlite://jobstore.db"
    )]
    pub(crate) store: String,

    /// Print one JSON object per line, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Create one job, or one for each line of a file
    Submit(SubmitArgs),
    /// Show jobs
    Get(GetArgs),
    /// List jobs, oldest first
    List(ListArgs),
    /// Count jobs by status
    Count(FilterArgs),
    /// Take the first job that is due, under a lease
    Claim(ClaimArgs),
    #[command(flatten)]
    Update(UpdateCommand),
    /// Give jobs whose lease has expired back, or fail them when their retries are spent
    Recover(RecoverArgs),
    /// Delete finished jobs, by id or by age
    Delete(DeleteArgs),
    /// Run a command once for each job
    Work(WorkArgs),
    /// Bring the schema up to date
    Migrate(MigrateArgs),
    /// Show what is known about the store
    Info,
    /// Look whether the indexes say what the jobs say, and every job can be read
    Check(CheckArgs),
    /// Check that a store of the kind at the URL keeps the contract, in a place of its own
    Conformance(jobstore_conformance::command::Args),
}

impl Command {
    /// Whether nothing is lost when nobody reads the output to its end.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Get(_) | Self::List(_) | Self::Count(_) | Self::Info
        )
    }
}

#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["job_name", "file"]),
    after_long_help = "A jobs file has one JSON object per line: `job_name` and `params`, and if \
        wanted `id`, `timeout` (seconds), `priority`, `next_attempt_at` (milliseconds since 1970), \
        `max_retries` and `unique_key`. Empty lines are passed over.\n\n\
        A file is checked whole before anything is stored, so a bad line means that nothing was. \
        What comes through a pipe is stored as it comes: when a line is bad, the lines before it \
        are stored already, and none after it.\n\n\
        When every line has an `id`, running the same file again is safe: jobs that exist are left \
        as they are. An id that exists with another name or other params is an error."
)]
pub(crate) struct SubmitArgs {
    /// Which function to run
    #[arg(value_name = "NAME")]
    pub(crate) job_name: Option<String>,

    /// Its arguments, a JSON object; - reads them from standard input
    #[arg(default_value = "{}", conflicts_with = "file")]
    pub(crate) params: String,

    /// Read jobs from this file, one JSON object per line; - reads standard input
    #[arg(long, short, value_name = "JOBS.jsonl")]
    pub(crate) file: Option<PathBuf>,

    /// The job's id, a UUID: with one, submitting again is safe
    #[arg(long, conflicts_with = "file")]
    pub(crate) id: Option<JobId>,

    /// The longest one run may take, such as 90s
    #[arg(long, value_parser = duration, conflicts_with = "file")]
    pub(crate) timeout: Option<Duration>,

    /// Larger is claimed first
    #[arg(
        long,
        default_value_t = 0,
        allow_negative_numbers = true,
        conflicts_with = "file"
    )]
    pub(crate) priority: i16,

    /// Not to be claimed before this much time has passed, such as 10m
    #[arg(long, value_parser = duration, conflicts_with_all = ["file", "at"])]
    pub(crate) delay: Option<Duration>,

    /// Not to be claimed before this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "file")]
    pub(crate) at: Option<Moment>,

    /// How often the job may be retried; without it the worker decides
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub(crate) max_retries: Option<u32>,

    /// At most one unfinished job exists for each name and unique key
    #[arg(long, value_name = "KEY", conflicts_with = "file")]
    pub(crate) unique_key: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// The jobs
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<JobId>,
}

/// Which jobs: those that meet every condition given.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilterArgs {
    /// Jobs of this name; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) job_names: Vec<String>,

    /// Jobs in this status; may be given several times
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',')]
    pub(crate) statuses: Vec<JobStatus>,

    /// Created at this time or later: 2030-01-31T12:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) created_from: Option<Moment>,

    /// Created at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) created_to: Option<Moment>,

    /// Jobs whose params have every member of this JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) params: Option<String>,

    /// Running jobs whose lease has expired
    #[arg(long)]
    pub(crate) lease_expired: bool,

    /// The job with this id; may be given several times
    #[arg(long = "id", value_name = "ID")]
    pub(crate) ids: Option<Vec<JobId>>,
}

impl FilterArgs {
    pub(crate) fn into_filter(self, now: Timestamp) -> JobFilter {
        JobFilter {
            job_names: self.job_names,
            statuses: self.statuses,
            created_from: self.created_from.map(|moment| moment.at(now)),
            created_to: self.created_to.map(|moment| moment.at(now)),
            params: self.params.map(JobParams::from),
            lease_expired_by: self.lease_expired.then_some(now),
            ids: self.ids,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Newest first
    #[arg(long)]
    pub(crate) newest: bool,

    /// Every job, page after page
    #[arg(long, conflicts_with_all = ["limit", "page_token"])]
    pub(crate) all: bool,

    /// At most this many jobs: 1 to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,

    /// Go on after the page that gave this token, with the same filter and order
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ClaimArgs {
    /// Of these names; none means any
    #[arg(value_name = "NAME")]
    pub(crate) job_names: Vec<String>,

    /// How many jobs to take at most: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) lease: LeaseArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LeaseArgs {
    /// How long the job is safe from being recovered, unless renewed
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub(crate) lease: Duration,

    /// Who runs the job [default: HOST:PID]
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,
}

impl LeaseArgs {
    pub(crate) fn owner(&self) -> String {
        self.owner.clone().unwrap_or_else(|| {
            let system = rustix::system::uname();
            let host = system.nodename().to_string_lossy();
            format!("{host}:{}", std::process::id())
        })
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// The job
    pub(crate) id: JobId,

    /// Only if the job is still in this run, as a worker's claim; without it, an operator's override
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
}

impl From<TargetArgs> for Target {
    fn from(TargetArgs { id, fence }: TargetArgs) -> Self {
        fence.map_or(Self::Id(id), |fence| Self::Claim(Claim { id, fence }))
    }
}

/// One action on one job.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// Make a running job's lease end this long from now
    Renew {
        #[command(flatten)]
        target: TargetArgs,
        /// How long
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
        lease: Duration,
    },
    /// Start a pending job by its id; without --lease it is never recovered
    Start {
        /// The job
        id: JobId,
        /// How long the job is safe from being recovered, unless renewed
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        lease: Option<Duration>,
        /// Who runs the job [default: HOST:PID]
        #[arg(long, value_name = "TEXT", requires = "lease")]
        owner: Option<String>,
    },
    /// Record that a job succeeded
    Finish {
        #[command(flatten)]
        target: TargetArgs,
        /// The payload; - reads it from standard input
        result: Option<String>,
    },
    /// Record that a job failed for good
    Fail {
        #[command(flatten)]
        target: TargetArgs,
        /// What went wrong; - reads it from standard input
        error: String,
    },
    /// Record that a job ran longer than it may
    Timeout {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Record that a run failed: the job runs again after a backoff, or fails
    Retry {
        #[command(flatten)]
        target: TargetArgs,
        /// What went wrong; - reads it from standard input
        error: String,
        #[command(flatten)]
        policy: PolicyArgs,
    },
    /// Call a job off
    Cancel {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a job pending and due, whatever became of it
    Reset {
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// How often, and how soon, a job runs again.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Retries allowed after the first run, for jobs that do not say themselves
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) max_retries: u32,

    /// The wait before the first retry; each further one doubles it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s")]
    pub(crate) backoff: Duration,

    /// The longest wait
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub(crate) max_backoff: Duration,
}

impl From<PolicyArgs> for RetryPolicy {
    fn from(args: PolicyArgs) -> Self {
        Self {
            max_retries: args.max_retries,
            base: args.backoff,
            max: args.max_backoff,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Of these names; none means any
    #[arg(value_name = "NAME")]
    pub(crate) job_names: Vec<String>,

    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "older_than"]))]
pub(crate) struct DeleteArgs {
    /// The jobs; those that are not finished, and unknown ones, are passed over
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<JobId>,

    /// All finished jobs that last changed longer ago than this, oldest first
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,

    /// Jobs of this name; may be given several times
    #[arg(long = "name", value_name = "NAME", requires = "older_than")]
    pub(crate) job_names: Vec<String>,

    /// Jobs in this status; may be given several times
    #[arg(
        long = "status",
        value_name = "STATUS",
        value_delimiter = ',',
        requires = "older_than"
    )]
    pub(crate) statuses: Vec<JobStatus>,

    /// At most this many jobs
    #[arg(long, value_name = "N", requires = "older_than")]
    pub(crate) limit: Option<u64>,
}

#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "jobstore work [OPTIONS] <NAME>... -- <COMMAND>...",
    after_long_help = "The command gets the job's params on standard input, and JOBSTORE_JOB_ID, \
        JOBSTORE_JOB_NAME and JOBSTORE_JOB_ATTEMPT (the job's fence: 1 for its first run) in its \
        environment. What it writes to standard output is the result, byte for byte: at most \
        8 MiB of UTF-8 without NUL. Exit code 0 finishes the job, 75 retries it, every other \
        fails it with the end of what was written to standard error.\n\n\
        Each run has a process group of its own, which ends with the command. The job's timeout \
        kills the group, and so does the loss of the lease.\n\n\
        On SIGTERM or SIGINT the worker claims no more, waits for the jobs that run, and after \
        --grace, or at the second signal, kills them and hands them back, to be run again."
)]
pub(crate) struct WorkArgs {
    /// Jobs of these names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) job_names: Vec<String>,

    /// What to run for each job
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) lease: LeaseArgs,

    /// How many jobs to run at a time
    #[arg(long, short, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) concurrency: u16,

    /// End when no job of these names is pending or running
    #[arg(long)]
    pub(crate) until_empty: bool,

    /// How long to wait for running jobs after a signal
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) grace: Duration,

    /// How long to wait before looking again when no job is due, unless the store tells of one sooner
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "250ms")]
    pub(crate) poll: Duration,

    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Print the SQL that makes the schema, or with --down removes it, and do nothing
    #[arg(long)]
    pub(crate) print: bool,

    /// Remove the schema, and every job with it
    #[arg(long)]
    pub(crate) down: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Rebuild what is wrong in the indexes from the jobs (sled and redb)
    #[arg(long)]
    pub(crate) repair: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_policy_is_the_contract_s() {
        let cli = Cli::parse_from(["jobstore", "recover"]);
        let Command::Recover(args) = cli.command else {
            panic!("another command");
        };
        assert_eq!(RetryPolicy::from(args.policy), RetryPolicy::default());
    }
}
