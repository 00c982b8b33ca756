//! What only sled brings about.

#[path = "../../backend-kv/tests/seam/mod.rs"]
mod seam;

use std::fs;
use std::time::Duration;

use jobstore_core::{Error, JobFilter, JobStore as _, JobStoreExt as _, NewJob};
use jobstore_sled::{Durability, SledJobStore, SledOptions};
use tempfile::TempDir;

fn place() -> (TempDir, SledOptions) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let options = SledOptions::new(folder.path().join("jobs"));
    (folder, options.with_lock_timeout(Duration::from_secs(5)))
}

async fn store_with_a_job(options: &SledOptions) -> SledJobStore {
    let store = options.clone().open().await.expect("opens");
    store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
    store
}

async fn jobs(store: &SledJobStore) -> u64 {
    let counts = store.count_jobs(&JobFilter::default()).await;
    counts.expect("counts").total()
}

#[tokio::test]
async fn a_second_handle_is_told_that_the_folder_is_in_use() {
    let (_folder, options) = place();
    let store = store_with_a_job(&options).await;
    let second = options
        .clone()
        .with_lock_timeout(Duration::ZERO)
        .open()
        .await;
    let error = second.expect_err("is refused");
    assert!(
        matches!(&error, Error::Unavailable { reason } if reason.contains("in use")),
        "{error}"
    );
    let clone = store.clone();
    drop(store);
    assert_eq!(jobs(&clone).await, 1);
}

#[tokio::test]
async fn a_folder_is_free_soon_after_its_last_handle_is_gone() {
    let (_folder, options) = place();
    drop(store_with_a_job(&options).await);
    assert_eq!(jobs(&options.open().await.expect("opens")).await, 1);
}

#[tokio::test]
async fn a_damaged_folder_is_an_error_and_no_panic() {
    for (file, bytes) in [
        ("conf", &b"garbage"[..]),
        ("db", &[0xff; 4096]),
        ("db", &[]),
    ] {
        let (folder, options) = place();
        let store = store_with_a_job(&options).await;
        drop(store);
        // Wait until it is closed, so that nothing is written over the damage.
        drop(options.clone().open().await.expect("opens"));
        let path = folder.path().join("jobs").join(file);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut damaged = fs::read(&path).expect("reads");
        let length = bytes.len().min(damaged.len());
        damaged[..length].copy_from_slice(&bytes[..length]);
        damaged.truncate(if bytes.is_empty() {
            700_000
        } else {
            damaged.len()
        });
        fs::write(&path, damaged).expect("writes");
        match options.with_lock_timeout(Duration::ZERO).open().await {
            // sled may find a way around the damage; then the store must work.
            Ok(store) => drop(jobs(&store).await),
            Err(error) => assert!(
                matches!(error, Error::Backend { .. } | Error::Incompatible { .. }),
                "{file}: {error}"
            ),
        }
    }
}

#[tokio::test]
async fn sled_data_of_another_program_is_refused_and_left_alone() {
    let (folder, options) = place();
    let path = folder.path().join("jobs");
    {
        let theirs = sled::open(&path).expect("opens");
        theirs.insert("theirs", "theirs").expect("writes");
    }
    let error = options.clone().open().await.expect_err("is refused");
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let theirs = sled::open(&path).expect("opens");
    assert_eq!(theirs.len(), 1);
    drop(theirs);

    let (folder, options) = place();
    fs::create_dir(folder.path().join("jobs")).expect("makes a folder");
    fs::write(folder.path().join("jobs/letter"), "dear").expect("writes");
    let error = options.open().await.expect_err("is refused");
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
}

#[tokio::test]
async fn what_is_left_of_a_store_that_was_never_made_is_in_nobodys_way() {
    for garbage in [&b""[..], b"garbage"] {
        let (folder, options) = place();
        let left = folder.path().join("jobs.new");
        fs::create_dir_all(left.join("blobs")).expect("makes a folder");
        fs::write(left.join("conf"), garbage).expect("writes");
        assert_eq!(jobs(&store_with_a_job(&options).await).await, 1);
        assert!(!left.exists());
    }
}

#[tokio::test]
async fn no_text_is_so_long_that_sled_keeps_it_outside_its_log() {
    let (folder, options) = place();
    let store = options.open().await.expect("opens");
    for size in [600, 100_000, 1_000_000] {
        let params = format!(r#"{{"a":"{}"}}"#, "x".repeat(size));
        let jobs = vec![NewJob::new("n".repeat(500), &*params); 3];
        for created in store.create_jobs(jobs).await.expect("creates") {
            let id = created.job().id;
            let job = store
                .finish_job(id, "y".repeat(size))
                .await
                .expect("finishes");
            assert_eq!(store.get_job(id).await.expect("reads"), job);
        }
    }
    let blobs = fs::read_dir(folder.path().join("jobs/blobs")).expect("reads");
    assert_eq!(blobs.count(), 0);
}

#[tokio::test]
async fn what_was_written_with_less_durability_is_there_after_closing() {
    let (_folder, options) = place();
    let relaxed = options.with_durability(Durability::Relaxed);
    drop(store_with_a_job(&relaxed).await);
    assert_eq!(jobs(&relaxed.open().await.expect("opens")).await, 1);
}

#[test]
fn entries_shown_where_they_lie_are_those_of_the_range() {
    seam::entries_shown_where_they_lie_are_those_of_the_range::<jobstore_sled::Sled>();
}
