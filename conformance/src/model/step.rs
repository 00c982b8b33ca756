//! The steps of a program.

use proptest::prelude::{Just, Strategy, prop_oneof};
use serde::{Deserialize, Serialize};

use super::op::{self, Op};
use crate::Fault;

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Through the first handle.
    Do(Op),
    /// Through a second handle on the same jobs, where the backend lets several be open.
    Other(Op),
    /// Through the first handle, and the call that it makes fails and is repeated. What makes no
    /// call or several, and what only reads, is done as by [`Do`](Step::Do).
    Fails(Trouble, Op),
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// It never reaches the store.
    NotSent,
    /// It is carried out, and its reply is lost.
    ReplyLost,
    /// It is carried out, and its caller gives up waiting.
    Hangs,
    /// Its caller drops it when it would be polled for the time with this number, counted from 0:
    /// it has happened, will happen, or never will.
    DroppedAt(u8),
}

impl Step {
    pub(super) fn op(&self) -> &Op {
        match self {
            Self::Do(op) | Self::Other(op) | Self::Fails(_, op) => op,
        }
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotSent => Self::ErrorBefore,
            Trouble::ReplyLost => Self::ErrorAfter,
            Trouble::Hangs => Self::Hang,
            Trouble::DroppedAt(polls) => Self::DroppedAt(u32::from(polls)),
        }
    }
}

/// Any step. Shrinks to one that is simply done.
pub(super) fn any() -> impl Strategy<Value = Step> {
    let trouble = prop_oneof![
        Just(Trouble::NotSent),
        Just(Trouble::ReplyLost),
        Just(Trouble::Hangs),
        (0..4_u8).prop_map(Trouble::DroppedAt),
    ];
    prop_oneof![
        6 => op::any().prop_map(Step::Do),
        2 => op::any().prop_map(Step::Other),
        1 => (trouble, op::any()).prop_map(|(trouble, op)| Step::Fails(trouble, op)),
    ]
}
