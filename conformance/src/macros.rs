//! What turns the list into tests of one backend.

/// One `#[test]` for each rule that every backend keeps, on a fresh store each.
///
/// Takes an expression that makes the harness, and puts the tests into a module `conformance`.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        mod conformance {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;
            $crate::for_each_rule!($crate::__conformance_modules![Nothing($harness)]);
        }
    };
}

/// One `#[test]` for each rule about jobs that survive when every handle is dropped, in a module
/// `conformance_durable`. For backends that claim [`Capabilities::durable`](crate::Capabilities::durable).
#[macro_export]
macro_rules! conformance_durable_tests {
    ($harness:expr) => {
        mod conformance_durable {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;
            $crate::for_each_rule!($crate::__conformance_modules![Durable($harness)]);
        }
    };
}

/// One `#[test]` for each rule about several handles on the same jobs, in a module
/// `conformance_shared`. For backends that claim [`Capabilities::shared`](crate::Capabilities::shared).
#[macro_export]
macro_rules! conformance_shared_tests {
    ($harness:expr) => {
        mod conformance_shared {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;
            $crate::for_each_rule!($crate::__conformance_modules![Shared($harness)]);
        }
    };
}

/// One `#[test]` that compares random programs over every operation with a
/// [`model`](crate::model), in a module `conformance_model`.
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
        }
    };
}

/// Takes the rules that were asked for out of the list, and makes a module for each subject.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_modules {
    ([Nothing $harness:tt] Nothing { $($rules:tt)* } $($rest:tt)*) => {
        $crate::__conformance_modules! { $harness $($rules)* }
    };
    ([Durable $harness:tt] Nothing { $($skipped:tt)* } Durable { $($rules:tt)* } $($rest:tt)*) => {
        $crate::__conformance_modules! { $harness $($rules)* }
    };
    ([Shared $harness:tt] Nothing { $($skipped:tt)* } Durable { $($too:tt)* } Shared { $($rules:tt)* }) => {
        $crate::__conformance_modules! { $harness $($rules)* }
    };
    ($harness:tt) => {};
    ($harness:tt $subject:ident { $($rules:tt)* } $($rest:tt)*) => {
        mod $subject {
            #[allow(unused_imports, reason = "the harness may be named by its path")]
            use super::*;
            $crate::__conformance_cases! { $harness $($rules)* }
        }
        $crate::__conformance_modules! { $harness $($rest)* }
    };
}

/// Makes a test of each rule of one subject.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    (($harness:expr) $($id:literal $level:ident $case:ident $sentence:literal;)+) => {
        $(
            #[test]
            fn $case() {
                $crate::test(&$harness, $id);
            }
        )+
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
