//! What turns the list into tests of one backend.

/// One `#[test]` for each rule, on a fresh store each, in a module `conformance`.
///
/// Takes an expression that makes the harness, and after `without` what is not there: `durable`, `shared`
/// and `arrivals` when the backend does not claim them, `tamper`, `requests`, `kill` and `power_cut` when the
/// harness has no such hook. The tests that need them are ignored, with the reason; those that say
/// what holds instead of a capability run. One more test fails when the words are not true.
///
/// ```ignore
/// jobstore_conformance::conformance_tests!(MyHarness, without shared, requests, kill, power_cut);
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr $(, without $($lacking:ident),+)? $(,)?) => {
        mod conformance {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;

            #[test]
            fn only_what_is_lacking_is_left_out() {
                $crate::test_what_is_lacking(&$harness, &[$($(stringify!($lacking)),+)?]);
            }

            $crate::for_each_rule!($crate::__conformance_groups![[$($($lacking)+)?] ($harness)]);
        }
    };
}

/// Tests that compare random programs over every operation, and every program that ever failed, with
/// a [`model`](crate::model), in a module `conformance_model`.
///
/// A second argument says how many programs; the default suits a store that syncs every write.
#[macro_export]
macro_rules! conformance_model_tests {
    ($harness:expr) => {
        $crate::conformance_model_tests!($harness, 64);
    };
    ($harness:expr, $programs:expr) => {
        mod conformance_model {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;

            #[test]
            fn store_and_model_agree() {
                $crate::model::test(&$harness, $programs);
            }

            #[test]
            fn programs_that_once_failed_pass() {
                $crate::model::replay_kept(&$harness);
            }
        }
    };
}

/// Takes the list of rules apart into groups by what they need.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_groups {
    ([$lacking:tt $harness:tt] $($needs:ident $rules:tt)+) => {
        $($crate::__conformance_group! { $needs $lacking $harness $rules })+
    };
}

/// Looks for what a group needs among the words after `without`, and has the group's tests made:
/// ignored or not.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_group {
    (Durable [durable $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the backend does not claim to be durable"]] $harness $rules }
    };
    (Volatile [durable $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [] $harness $rules }
    };
    (Shared [shared $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the backend does not claim to be shared"]] $harness $rules }
    };
    (Exclusive [shared $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [] $harness $rules }
    };
    (Arrivals [arrivals $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the backend does not tell of arrivals"]] $harness $rules }
    };
    (Tamper [tamper $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the harness has no hook to tamper with a row"]] $harness $rules }
    };
    (Requests [requests $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the harness has no hook to count requests"]] $harness $rules }
    };
    (Kill [kill $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the harness has no hook to kill"]] $harness $rules }
    };
    (PowerCut [power_cut $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the harness has no hook to cut the power"]] $harness $rules }
    };
    ($needs:ident [$other:ident $($rest:ident)*] $harness:tt $rules:tt) => {
        $crate::__conformance_group! { $needs [$($rest)*] $harness $rules }
    };
    (Volatile [] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the backend is durable"]] $harness $rules }
    };
    (Exclusive [] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [#[ignore = "the backend is shared"]] $harness $rules }
    };
    ($needs:ident [] $harness:tt $rules:tt) => {
        $crate::__conformance_modules! { [] $harness $rules }
    };
}

/// Makes a module for each subject, and in it a test of each rule.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_modules {
    ($attributes:tt $harness:tt { $($subject:ident $rules:tt)+ }) => {
        $(
            mod $subject {
                #[allow(unused_imports, reason = "the harness may be named by its path")]
                use super::*;
                $crate::__conformance_cases! { $attributes $harness $rules }
            }
        )+
    };
}

/// Makes a test of each rule of one subject.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($attributes:tt $harness:tt { $($id:literal $level:ident $case:ident $sentence:literal;)+ }) => {
        $($crate::__conformance_case! { $attributes $harness $id $case })+
    };
}

/// Makes the test of a rule.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_case {
    ([$($attribute:tt)*] ($harness:expr) $id:literal $case:ident) => {
        #[test]
        $($attribute)*
        fn $case() {
            let place = $crate::Place {
                package: env!("CARGO_PKG_NAME"),
                module: module_path!(),
                case: stringify!($case),
            };
            $crate::test(&$harness, $id, place);
        }
    };
}

/// Tests with callers at once, in a module `conformance_history`: recorded histories that are
/// checked for linearizability, and what holds for many jobs ([`history`](crate::history)).
///
/// A second argument says how many histories, a third how many jobs; the defaults suit a store that
/// syncs every write.
#[macro_export]
macro_rules! conformance_history_tests {
    ($harness:expr) => {
        $crate::conformance_history_tests!($harness, 60);
    };
    ($harness:expr, $histories:expr) => {
        $crate::conformance_history_tests!($harness, $histories, 2_000);
    };
    ($harness:expr, $histories:expr, $jobs:expr) => {
        mod conformance_history {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;

            #[test]
            fn some_order_explains_what_callers_saw() {
                $crate::history::test(&$harness, $histories);
            }

            #[test]
            fn of_many_jobs_none_is_lost_and_none_done_twice() {
                $crate::history::many_jobs(&$harness, $jobs);
            }
        }
    };
}
