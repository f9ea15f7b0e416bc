//! The conditions that figures are taken under, and the memory of a process.

use std::path::Path;
use std::time::Instant;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Refuses a directory in memory: figures of writes that no disk sees mean nothing.
pub fn refuse_tmpfs(directory: &Path) {
    let kind = statfs(directory).expect("the directory is there").filesystem_type();
    assert!(
        kind != TMPFS_MAGIC,
        "{} is a tmpfs, which syncs nothing: set TMPDIR to a directory on a disk",
        directory.display()
    );
}

/// Processor, cores, memory, kernel and how long the disk takes for a synced write of 4 KB.
pub fn conditions(directory: &Path) -> String {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{}, {} cores, {}, Linux {}, load before {}, `fdatasync` of 4 KB {:.3} ms (median of 200)",
        first("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, usize::from),
        first("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        sync_millis(directory),
    )
}

fn sync_millis(directory: &Path) -> f64 {
    use std::io::Write;
    let path = directory.join("sync-probe");
    let mut file = std::fs::File::create(&path).expect("the directory can be written");
    let mut micros: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096]).expect("there is room");
            file.sync_data().expect("the disk syncs");
            begun.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    let _ = std::fs::remove_file(path);
    micros.get(100).map_or(f64::NAN, |median| *median as f64 / 1000.0)
}

/// Anonymous memory of a process, in MB (10^6 bytes): what it needs by itself, without mapped files.
pub fn anonymous_mb(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).expect("the kernel tells");
    let kb: f64 = line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number");
    kb * 1024.0 / 1e6
}

/// User and system time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
