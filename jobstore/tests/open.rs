//! Opening stores by URL.

use jobstore::Opener;

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_sqlite_file_keeps_its_jobs_and_is_made_only_when_asked() {
    use jobstore::{JobStoreExt as _, NewJob};

    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/jobs.db", directory.path().display());
    let unmade = Opener::new(&url).with_migrate(false).open().await;
    assert!(unmade.is_err());
    let store = jobstore::open(&url).await.expect("opens");
    let job = store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("is created")
        .into_job();
    drop(store);
    let again = Opener::new(&url)
        .with_migrate(false)
        .open()
        .await
        .expect("opens");
    assert_eq!(again.get_job(job.id).await.expect("is there"), job);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_is_opened_with_the_clock_given() {
    let clock = jobstore::ManualClock::new(jobstore::Timestamp::from_millis(7));
    let opener = Opener::new("sqlite::memory:").with_clock(std::sync::Arc::new(clock));
    let store = opener.open().await.expect("opens");
    assert_eq!(store.now().as_millis(), 7);
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn memory_is_opened_with_the_clock_given() {
    let clock = jobstore::ManualClock::new(jobstore::Timestamp::from_millis(7));
    let opener = Opener::new("memory:").with_clock(std::sync::Arc::new(clock));
    let store = opener.open().await.expect("opens");
    assert_eq!(store.now().as_millis(), 7);
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn a_scheme_whose_feature_is_off_names_the_feature() {
    let error = jobstore::open("memory:").await.expect_err("is refused");
    assert!(error.to_string().contains("feature `memory`"), "{error}");
}

#[tokio::test]
async fn an_opener_shows_no_password() {
    for url in [
        "postgres://ada:canary@host/db",
        "oracle://ada:canary@host/db",
    ] {
        let opener = Opener::new(url);
        assert!(!format!("{opener:?}").contains("canary"));
    }
    let error = jobstore::open("oracle://ada:canary@host/db").await;
    let error = error.expect_err("is refused").to_string();
    assert!(error.contains("unknown scheme `oracle`"), "{error}");
}
