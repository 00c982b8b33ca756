//! A disk whose power can be cut: ext4 in a file.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// How large the file system is; the file holds only what is used of it.
const BYTES: u64 = 1024 * 1024 * 1024;

/// Shuts a file system down without writing its log: `ioctl(fd, EXT4_IOC_SHUTDOWN, &NOLOGFLUSH)`.
/// In perl, because an ioctl from Rust is `unsafe`, and there is none in this project.
const SHUTDOWN: &str = r#"
    open(my $disk, "<", $ARGV[0]) or die "open: $!\n";
    my $how = pack("L", 2);
    ioctl($disk, 0x8004587D, $how) or die "ioctl: $!\n";
"#;

/// A mounted file system of its own, gone when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
    mounted: bool,
}

impl Disk {
    /// Whether the power can be cut here, by cutting it once under an empty disk.
    pub(crate) fn probe() -> Result<()> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "cutting the power needs root"
        );
        let mut disk = Self::new()?;
        disk.cut()?;
        disk.mount()
    }

    pub(crate) fn new() -> Result<Self> {
        let mut disk = Self {
            folder: folder()?,
            mounted: false,
        };
        let image = File::create(disk.image()).context("no file for a disk")?;
        image.set_len(BYTES).context("no file for a disk")?;
        std::fs::create_dir(disk.path()).context("no place to mount a disk")?;
        run("mkfs.ext4", &[OsStr::new("-qF"), disk.image().as_os_str()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(crate) fn mount(&mut self) -> Result<()> {
        let (image, path) = (self.image(), self.path());
        let args = [
            OsStr::new("-o"),
            OsStr::new("loop"),
            image.as_os_str(),
            path.as_os_str(),
        ];
        run("mount", &args)?;
        self.mounted = true;
        Ok(())
    }

    /// Loses everything that no fsync brought to disk, and unmounts.
    pub(crate) fn cut(&mut self) -> Result<()> {
        run(
            "perl",
            &[
                OsStr::new("-e"),
                OsStr::new(SHUTDOWN),
                self.path().as_os_str(),
            ],
        )?;
        self.unmount()
    }

    fn unmount(&mut self) -> Result<()> {
        // What the killed child had open may take a moment to be closed.
        for _ in 0..200 {
            if run("umount", &[self.path().as_os_str()]).is_ok() {
                self.mounted = false;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} cannot be unmounted", self.path().display())
    }

    /// Brings everything to disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let root = File::open(self.path()).context("the disk is gone")?;
        rustix::fs::syncfs(root).context("the disk cannot be synced")
    }

    /// Keeps the file system as it is now in a file, to be looked at.
    pub(crate) fn keep(&mut self, name: &str) -> Result<PathBuf> {
        self.unmount()?;
        let id = uuid::Uuid::now_v7();
        let kept = std::env::temp_dir().join(format!("power-cut-{name}-{id}.ext4"));
        // Most of the file is a hole, and may stay one.
        let (image, sparse) = (self.image(), OsStr::new("--sparse=always"));
        run("cp", &[sparse, image.as_os_str(), kept.as_os_str()])?;
        Ok(kept)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("warning: {error:#}");
        }
    }
}

/// A folder in memory where that is to be had: what matters is what reaches it, not what is below it.
/// Whoever runs a server may enter it.
pub(crate) fn folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("jobstore-power-cut-");
    builder.permissions(Permissions::from_mode(0o755));
    match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    }
    .context("no folder can be made")
}

fn run(program: &str, args: &[&OsStr]) -> Result<()> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("could not start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.trim_end());
    Ok(())
}
