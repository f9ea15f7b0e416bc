//! The OCI runtime specification of a container: what it sees and what it may use.

use std::path::Path;

use serde_json::{Value, json};

use crate::ContainerSpec;

use super::seccomp;

/// Processes and threads of a container.
const PIDS_MAX: u32 = 256;
/// Bytes below `/tmp`, the only place that a container may write; they count against its memory too.
const TMP_MB: u32 = 128;

/// The specification of a container of `spec` that runs `args` on `rootfs`.
pub(super) fn config(
    spec: &ContainerSpec,
    uid: u32,
    rootfs: &Path,
    cgroup: &Path,
    args: &[String],
    env: &[String],
) -> Value {
    let memory = u64::from(spec.memory_mb) << 20;
    let limit = |kind: &str, value: u64| json!({"type": kind, "hard": value, "soft": value});
    json!({
        "ociVersion": "1.0.2",
        "hostname": "action",
        "root": {"path": rootfs, "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": uid, "gid": uid},
            "args": args,
            "env": env,
            "cwd": "/tmp",
            "noNewPrivileges": true,
            "oomScoreAdj": 500,
            "capabilities": {"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []},
            "rlimits": [limit("RLIMIT_NOFILE", 1024), limit("RLIMIT_CORE", 0)],
        },
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
            ],
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": memory, "swap": memory},
                "pids": {"limit": PIDS_MAX},
                "cpu": {"shares": (1024 * u64::from(spec.cpu_permille) / 1000).max(2)},
            },
            "seccomp": seccomp::profile(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/kmsg", "/proc/cmdline", "/proc/mounts",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let size = format!("size={TMP_MB}m");
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=16m"]),
        mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777", &size]),
    ];
    for path in READ_ONLY {
        // Where the host has a symbolic link (`/bin` of today's Debian), the root file system has the same link.
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            mounts.push(mount(path, "bind", path, &["rbind", "ro", "nosuid", "nodev"]));
        }
    }
    mounts
}

/// The host's directories that a container sees, read-only.
pub(super) const READ_ONLY: [&str; 7] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ssl/certs"];
