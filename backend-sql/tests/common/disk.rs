//! A disk that becomes full.

use std::path::{Path, PathBuf};
use std::process::Command;

use jobstore_core::{JobFilter, JobId, JobStore, JobStoreExt as _, NewJob};
use jobstore_test_servers::{Server, Setup};

use super::load;

/// A small file system of its own, gone when dropped, with something on it to be removed once it is full.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
    ballast: PathBuf,
}

impl SmallDisk {
    /// None where this may not be done.
    pub(crate) fn of(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("makes a folder");
        let size = format!("size={mebibytes}m,mode=0755");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output();
        if !mount.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let ballast = folder.path().join("ballast");
        let disk = Self { folder, ballast };
        std::fs::write(&disk.ballast, vec![1; 32 << 20]).expect("writes");
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Creates jobs on a server until its disk is full, makes room, and looks whether those created are there.
pub(crate) async fn fill<S, F>(setup: Setup, mebibytes: u32, open: impl FnOnce(String) -> F)
where
    S: JobStore,
    F: Future<Output = S>,
{
    let Some(disk) = SmallDisk::of(mebibytes) else {
        println!("NOT RUN: mounting a small file system needs root");
        return;
    };
    let mut server = setup.within(disk.path()).start().expect("starts");
    let store = open(server.url()).await;
    let params = format!(r#"{{"text": "{}"}}"#, incompressible(40_000));
    let mut created = Vec::new();
    let error = loop {
        let ids: Vec<JobId> = (0..20).map(|_| JobId::generate()).collect();
        let jobs = ids.iter().map(|id| NewJob::new("a", &*params).with_id(*id));
        match store.create_jobs(jobs.collect()).await {
            Ok(_) => created.extend(ids),
            Err(error) => break error,
        }
        assert!(created.len() < 20_000, "the disk is never full");
    };
    assert!(error.is_retryable(), "{error}");
    std::fs::remove_file(&disk.ballast).expect("removes");
    // One that could not write its log has stopped.
    let server = tokio::task::spawn_blocking(move || {
        server.restart().expect("starts again");
        server
    });
    let _server: Server = server.await.expect("does not panic");
    let found = load::again(|| store.get_jobs(&created[..100])).await;
    let lost = "an acknowledged job is lost";
    assert!(found.iter().all(Option::is_some), "{lost}");
    let all = JobFilter::default();
    let counts = load::again(|| store.count_jobs(&all)).await;
    assert!(counts.total() >= created.len() as u64, "{lost}");
    load::again(|| store.create_job(NewJob::new("b", "{}"))).await;
}

/// A text that the server cannot make smaller.
fn incompressible(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(length)
        .collect()
}
