//! What is left when the power of the disk was cut.

use crate::Cx;
use crate::cases::kill::{claims_and_keys_are_good_after, everything_is_there_after};
use crate::failure::CaseResult;

pub(crate) async fn what_calls_did_is_on_disk(cx: &Cx) -> CaseResult {
    everything_is_there_after(cx, cx.surroundings().power_cut()).await
}

pub(crate) async fn claims_and_keys_are_good(cx: &Cx) -> CaseResult {
    claims_and_keys_are_good_after(cx, cx.surroundings().power_cut()).await
}
