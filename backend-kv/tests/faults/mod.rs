//! Faults of disks, for the tests of every engine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jobstore_core::{
    Error, JobFilter, JobId, JobStore as _, JobStoreExt as _, NewJob, PageRequest,
};
use jobstore_kv::{Engine, KvJobStore, Options, Repair};
use tempfile::TempDir;

/// A small disk in memory, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    /// None, and said so, where this user may not mount.
    fn mounted(mib: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("makes a folder");
        let size = format!("size={mib}m");
        if mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], folder.path()) {
            return Some(Self(folder));
        }
        eprintln!("not run: mounting a disk of {mib} MiB needs root");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(mount(&["-o", &options], self.0.path()), "remounts");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because a store that was dropped may still be closing.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmounts");
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let mut command = Command::new("mount");
    let mounted = command.args(arguments).arg(path).output();
    mounted.is_ok_and(|output| output.status.success())
}

fn options<E: Engine>(path: &Path) -> Options<E> {
    Options::new(path).with_lock_timeout(Duration::from_secs(5))
}

/// Creates jobs until the disk is full, and returns those that were acknowledged.
async fn fill<E: Engine>(store: &KvJobStore<E>) -> Vec<JobId> {
    let mut acknowledged = Vec::new();
    for _ in 0..500 {
        let params = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
        match store.create_jobs(vec![NewJob::new("a", params); 20]).await {
            Ok(created) => acknowledged.extend(created.iter().map(|creation| creation.job().id)),
            Err(error) => {
                assert!(matches!(error, Error::Backend { .. }), "{error}");
                return acknowledged;
            }
        }
    }
    panic!("the disk is never full");
}

/// A full disk refuses what does not fit, and holds everything that was acknowledged.
pub(crate) async fn a_full_disk_is_an_error_and_loses_nothing<E: Engine>() {
    let Some(disk) = Disk::mounted(16) else {
        return;
    };
    let path = disk.0.path().join("jobs");
    let store = options::<E>(&path).open().await.expect("opens");
    let acknowledged = fill(&store).await;
    assert!(!acknowledged.is_empty(), "something fits");
    let error = store.create_job(NewJob::new("a", "{}")).await.err();
    assert!(
        matches!(error, None | Some(Error::Backend { .. })),
        "{error:?}"
    );
    drop(store);

    disk.remount("size=128m");
    let store = options::<E>(&path).open().await.expect("opens");
    for ids in acknowledged.chunks(1000) {
        let jobs = store.get_jobs(ids).await.expect("reads");
        assert!(jobs.iter().all(Option::is_some), "all are there");
    }
    let report = store.check(Repair::No, |difference| eprintln!("{difference}"));
    assert_eq!(report.await.expect("checks").differences, 0);
    store
        .create_job(NewJob::new("a", "{}"))
        .await
        .expect("creates");
}

/// A disk that cannot be written is an error, when opening or when writing.
pub(crate) async fn a_read_only_disk_is_an_error<E: Engine>() {
    let Some(disk) = Disk::mounted(16) else {
        return;
    };
    let path = disk.0.path().join("jobs");
    let store = options::<E>(&path).open().await.expect("opens");
    let job = store.create_job(NewJob::new("a", "{}")).await;
    let id = job.expect("creates").job().id;
    drop(store);
    // Opened once more, so that it was closed.
    drop(options::<E>(&path).open().await.expect("opens"));
    tokio::time::sleep(Duration::from_millis(500)).await;

    disk.remount("ro");
    match options::<E>(&path)
        .with_lock_timeout(Duration::ZERO)
        .open()
        .await
    {
        Err(error) => assert!(matches!(error, Error::Backend { .. }), "{error}"),
        Ok(store) => {
            let error = store.create_job(NewJob::new("a", "{}")).await.err();
            assert!(matches!(error, Some(Error::Backend { .. })), "{error:?}");
        }
    }
    let error = options::<E>(&disk.0.path().join("other"))
        .open()
        .await
        .err();
    assert!(matches!(error, Some(Error::Backend { .. })), "{error:?}");

    disk.remount("rw");
    let store = options::<E>(&path).open().await.expect("opens");
    store.get_job(id).await.expect("is there");
}

/// A file that lost its end is an error, or what is left of it works; it is never a panic.
pub(crate) async fn a_truncated_file_is_an_error_and_no_panic<E: Engine>(file: Option<&str>) {
    let folder = tempfile::tempdir().expect("makes a folder");
    let path = folder.path().join("jobs");
    let store = options::<E>(&path).open().await.expect("opens");
    fill_some(&store).await;
    drop(store);
    drop(options::<E>(&path).open().await.expect("opens"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let file = match file {
        Some(inside) => path.join(inside),
        None => path.clone(),
    };
    let whole = fs::metadata(&file).expect("is there").len();
    for length in [whole - 1, whole / 2, 5000, 100, 1] {
        let opened = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .expect("opens");
        opened.set_len(length).expect("truncates");
        drop(opened);
        match options::<E>(&path)
            .with_lock_timeout(Duration::from_secs(1))
            .open()
            .await
        {
            Ok(store) => {
                let (any, first) = (JobFilter::default(), PageRequest::default());
                typed(store.list_jobs(&any, &first).await.err());
                typed(store.create_job(NewJob::new("a", "{}")).await.err());
                drop(store);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(error) => typed(Some(error)),
        }
    }
}

async fn fill_some<E: Engine>(store: &KvJobStore<E>) {
    for _ in 0..10 {
        let jobs = vec![NewJob::new("a", "{}"); 100];
        store.create_jobs(jobs).await.expect("creates");
    }
}

fn typed(error: Option<Error>) {
    let known = matches!(
        error,
        None | Some(Error::Backend { .. } | Error::Incompatible { .. } | Error::Unavailable { .. })
    );
    assert!(known, "{error:?}");
}
