//! What the driver and a contender say to each other.

use serde::{Deserialize, Serialize};

/// What a contender is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct About {
    /// Its name, as a package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was set up, where that is not its default.
    pub settings: String,
    /// What a returned call means after a power cut.
    pub durability: String,
    /// What it can do.
    pub operations: Vec<Operation>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Single creates from one caller.
    #[serde(rename = "create-1")]
    Create1,
    /// Single creates from 16 callers.
    #[serde(rename = "create-16")]
    Create16,
    /// Single creates from 64 callers.
    #[serde(rename = "create-64")]
    Create64,
    /// Batches of 100 new jobs, from one caller.
    CreateBatch,
    /// Workers take and finish jobs that wait, and finished jobs stay.
    Work,
    /// The same, and finished jobs are deleted.
    WorkDelete,
    /// As `Work`, beside a transaction that began before and stays open, so that no dead row can be taken away.
    WorkOpen,
    /// As `WorkDelete`, beside such a transaction.
    WorkDeleteOpen,
    /// A first page of 100 among 100 thousand jobs.
    FirstPage,
    /// A page of 100 behind 90 thousand jobs.
    DeepPage,
    /// All of 40 thousand jobs, page by page.
    Walk,
    /// From the call that creates a job to its handler, of a worker with nothing else to do.
    PickUp,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::Create1,
        Self::Create16,
        Self::Create64,
        Self::CreateBatch,
        Self::Work,
        Self::WorkDelete,
        Self::WorkOpen,
        Self::WorkDeleteOpen,
        Self::FirstPage,
        Self::DeepPage,
        Self::Walk,
        Self::PickUp,
    ];

    /// Its name on the command line and in the report's data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create1 => "create-1",
            Self::Create16 => "create-16",
            Self::Create64 => "create-64",
            Self::CreateBatch => "create-batch",
            Self::Work => "work",
            Self::WorkDelete => "work-delete",
            Self::WorkOpen => "work-open",
            Self::WorkDeleteOpen => "work-delete-open",
            Self::FirstPage => "first-page",
            Self::DeepPage => "deep-page",
            Self::Walk => "walk",
            Self::PickUp => "pick-up",
        }
    }

    /// What it means, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Create1 => "create, 1 caller",
            Self::Create16 => "create, 16 callers",
            Self::Create64 => "create, 64 callers",
            Self::CreateBatch => "create by 100",
            Self::Work => "claim and finish, history kept",
            Self::WorkDelete => "claim, finish and delete",
            Self::WorkOpen => "claim and finish, history kept, beside an open transaction",
            Self::WorkDeleteOpen => "claim, finish and delete, beside an open transaction",
            Self::FirstPage => "first page of 100 in 100,000",
            Self::DeepPage => "page of 100 behind 90,000",
            Self::Walk => "walk over 40,000",
            Self::PickUp => "pick-up, idle",
        }
    }

    /// What a contender must have to be asked this.
    pub fn needs(self) -> Self {
        match self {
            Self::WorkOpen => Self::Work,
            Self::WorkDeleteOpen => Self::WorkDelete,
            other => other,
        }
    }

    /// Whether a transaction stays open beside it.
    pub fn is_beside_open(self) -> bool {
        self.needs() != self
    }

    /// What its figures count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::FirstPage | Self::DeepPage | Self::PickUp => "ms",
            _ => "jobs/s",
        }
    }
}

/// What the driver asks for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Say what you are.
    About,
    /// Have that many jobs waiting.
    Fill(usize),
    /// Do this and say how fast it went.
    Measure(Operation),
}

/// What a contender answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What it is.
    About(About),
    /// It was done.
    Done,
    /// What was measured.
    Figure(Figure),
    /// It went wrong.
    Failed(String),
}

/// What was measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// In the operation's unit.
    pub value: f64,
    /// How many times a handler was given a job that one had been given before.
    pub again: usize,
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self { value, again: 0 }
    }
}
