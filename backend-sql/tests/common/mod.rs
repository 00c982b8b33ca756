//! What the tests against servers share.
#![allow(dead_code, reason = "each test file uses its own part")]

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod disk;
pub(crate) mod load;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod requests;
pub(crate) mod walk;

use std::sync::atomic::{AtomicU32, Ordering};

/// The URL of a server to test on.
pub(crate) fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; `cargo xtask test` starts a server and sets it")
    })
}

/// A name that no other test uses, of this process or another.
pub(crate) fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// Waits for a future where nothing asynchronous may stand, as in `drop`.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("makes a runtime");
        runtime.block_on(future)
    };
    std::thread::spawn(run).join().expect("does not panic")
}
