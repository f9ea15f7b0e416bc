//! A real, small file system to fill: ext4 in a file, in a mount namespace of the test's own thread.
//!
//! The namespace ends with the test and what it started, and the mount and its loop device with it, however the test
//! ends. So all of the test has to run on the thread that made the disk, or on threads and processes started from it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A mounted disk; unmounted when this is dropped.
pub struct SmallDisk {
    at: PathBuf,
    /// Holds the image and the mount point.
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Makes and mounts a disk of `mb` MB.
    pub fn new(mb: u64) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: the tests run as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .expect("mounts of one's own");
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(mb << 20).unwrap();
        let at = directory.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        // No blocks are kept for root, who is the one that fills it here.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        Self { at, _directory: directory }
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Bytes free.
    pub fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.at).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Takes all but `keep` bytes.
    pub fn fill(&self, keep: u64) {
        let ballast =
            OpenOptions::new().create(true).write(true).truncate(false).open(self.ballast()).unwrap();
        let mut step = self.free().saturating_sub(keep).max(4096);
        while step >= 4096 {
            let free = self.free();
            let end = i64::try_from(ballast.metadata().unwrap().len()).unwrap();
            let fits = free >= keep + step
                && fallocate(&ballast, FallocateFlags::empty(), end, i64::try_from(step).unwrap()).is_ok();
            if !fits {
                step /= 2;
            }
        }
    }

    /// Gives all of it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may be in use still, and goes with its last user then.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (apt-get install e2fsprogs util-linux)");
    });
    assert!(status.success(), "{command:?}: {status}");
}
