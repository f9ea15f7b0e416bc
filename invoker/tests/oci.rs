//! Real containers of crun: what they run, and what they cannot reach.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod engine;

use std::time::Duration;

use serde_json::json;
use triggerfish_invoker::{Call, ContainerError, ContainerFactory, ContainerSpec};

use engine::{WAIT, container, factory, init, run};

#[tokio::test]
async fn python_and_node_run_and_their_lines_are_captured() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let python = container(&factory, "python:3", 256).await;
    init(&python, "import sys\ndef main(a):\n    print('out', a['n'])\n    print('err', file=sys.stderr)\n    return {'n': a['n'] + 1}\n").await;
    for n in 0..3 {
        assert_eq!(run(&python, json!({"n": n})).await.unwrap(), (200, json!({"n": n + 1})));
        let logs = python.logs(1 << 20, WAIT).await;
        assert!(logs.complete && !logs.truncated);
        let mut texts: Vec<_> = logs.lines.iter().map(|line| line[31..].to_owned()).collect();
        texts.sort();
        assert_eq!(texts, ["stderr: err".to_owned(), format!("stdout: out {n}")]);
    }
    let node = container(&factory, "nodejs:20", 256).await;
    init(&node, "async function main(a) { console.log('hi'); return {n: a.n * 2}; }").await;
    assert_eq!(run(&node, json!({"n": 21})).await.unwrap(), (200, json!({"n": 42})));
    assert_eq!(node.logs(1 << 20, WAIT).await.lines.len(), 1);
    node.pause().await.unwrap();
    node.resume().await.unwrap();
    assert_eq!(run(&node, json!({"n": 1})).await.unwrap(), (200, json!({"n": 2})));
    python.destroy().await;
    node.destroy().await;
}

#[tokio::test]
async fn an_action_reaches_nothing_but_what_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "s").unwrap();
    let factory = factory(directory.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = container(&factory, "nodejs:20", 256).await;
    init(&other, "require('fs').writeFileSync('/tmp/secret', 's'); function main() { return {}; }").await;
    let python = container(&factory, "python:3", 256).await;
    init(
        &python,
        "
def main(a):
    import os, socket
    def tries(f):
        try:
            return str(f())
        except BaseException as e:
            return 'refused: ' + type(e).__name__
    def write(p):
        with open(p, 'w') as f: f.write('x')
        return 'written'
    return {
        'root': tries(lambda: os.listdir('/root')),
        'shadow': tries(lambda: open('/etc/shadow').read()),
        'data': tries(lambda: open(a['data'] + '/secret').read()),
        'pids': sorted(int(p) for p in os.listdir('/proc') if p.isdigit()),
        'keys': tries(lambda: os.listdir('/etc/ssl/private')),
        'others': tries(lambda: open('/tmp/secret').read()),
        'files': sorted(os.listdir('/tmp')),
        'init of the host': tries(lambda: os.listdir('/proc/1/root/root')),
        'bundles': tries(lambda: os.listdir(a['data'] + '/bundles')),
        'devices': tries(lambda: write('/dev/x')),
        'kernel': tries(lambda: write('/proc/sys/kernel/hostname')),
        'sys': tries(lambda: os.listdir('/sys/fs/cgroup')),
        'usr': tries(lambda: write('/usr/x')),
        'rootfs': tries(lambda: write('/x')),
        'launcher': tries(lambda: write('/launcher/launcher.py')),
        'tmp': tries(lambda: write('/tmp/x')),
        'hub': tries(lambda: socket.create_connection(('127.0.0.1', a['port']), 2)),
        'uid': os.getuid(),
        'setuid': tries(lambda: os.setuid(0)),
        'mknod': tries(lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))),
        'vsock': tries(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
        'kill': tries(lambda: os.kill(2, 0)),
    }
",
    )
    .await;
    let port = listener.local_addr().unwrap().port();
    let (_, seen) = run(&python, json!({"data": directory.path(), "port": port})).await.unwrap();
    let refused = [
        "root",
        "shadow",
        "data",
        "keys",
        "others",
        "init of the host",
        "bundles",
        "devices",
        "kernel",
        "sys",
        "usr",
        "rootfs",
        "launcher",
        "hub",
        "setuid",
        "mknod",
        "vsock",
        "kill",
    ];
    for refused in refused {
        assert!(seen[refused].as_str().unwrap().starts_with("refused"), "{refused}: {seen}");
    }
    assert_eq!(seen["tmp"], "written", "{seen}");
    assert_eq!(seen["pids"], json!([1]), "{seen}");
    assert!(seen["uid"].as_u64().unwrap() >= 1_000_000, "{seen}");
    assert_eq!(seen["files"], json!([]), "{seen}");
    python.destroy().await;
    other.destroy().await;
}

/// Namespaces, mounts, tracing and the kernel's weak spots, by the numbers of their system calls on x86-64.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn system_calls_that_no_action_needs_are_refused() {
    const EPERM: u64 = 1;
    const ENOSYS: u64 = 38;
    let calls = [
        ("mount", 165, 0, EPERM),
        ("umount2", 166, 0, EPERM),
        ("pivot_root", 155, 0, EPERM),
        ("chroot", 161, 0, EPERM),
        ("unshare, user", 272, 0x1000_0000, EPERM),
        ("setns", 308, 0, EPERM),
        ("clone, user", 56, 0x1000_0011, EPERM),
        ("clone, mount", 56, 0x0002_0011, EPERM),
        ("clone, network", 56, 0x4000_0011, EPERM),
        ("clone3", 435, 0, ENOSYS),
        ("open_tree", 428, 0, EPERM),
        ("fsopen", 430, 0, EPERM),
        ("bpf", 321, 0, EPERM),
        ("perf_event_open", 298, 0, EPERM),
        ("ptrace", 101, 0, EPERM),
        ("process_vm_readv", 310, 1, EPERM),
        ("keyctl", 250, 0, EPERM),
        ("add_key", 248, 0, EPERM),
        ("request_key", 249, 0, EPERM),
        ("userfaultfd", 323, 0, EPERM),
        ("io_uring_setup", 425, 1, EPERM),
        ("init_module", 175, 0, EPERM),
        ("kexec_load", 246, 0, EPERM),
        ("reboot", 169, 0, EPERM),
        ("open_by_handle_at", 304, 0, EPERM),
        ("personality, no randomness", 135, 0x004_0000, EPERM),
        ("socket, AF_ALG", 41, 38, EPERM),
        ("socket, AF_PACKET", 41, 17, EPERM),
    ];
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let python = container(&factory, "python:3", 256).await;
    init(
        &python,
        "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def main(a):
    ctypes.set_errno(0)
    answer = libc.syscall(ctypes.c_long(a['number']), ctypes.c_long(a['argument']), 0, 0, 0, 0)
    return {'answer': answer, 'errno': ctypes.get_errno()}
",
    )
    .await;
    for (name, number, argument, errno) in calls {
        let (_, seen) = run(&python, json!({"number": number, "argument": argument})).await.unwrap();
        assert_eq!(seen, json!({"answer": -1, "errno": errno}), "{name}");
    }
    // Threads and processes, and the libraries that make them, go on as ever.
    let (_, seen) = run(&python, json!({"number": 39, "argument": 0})).await.unwrap();
    assert_eq!(seen, json!({"answer": 1, "errno": 0}), "getpid");
    python.destroy().await;
}

/// A container that nobody destroys, since a task was cancelled, leaves nothing.
#[tokio::test]
async fn a_dropped_container_ends() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    drop(container(&factory, "python:3", 256).await);
    let left = |name: &str| std::fs::read_dir(directory.path().join(name)).unwrap().count();
    let begun = std::time::Instant::now();
    while left("bundles") + left("state") > 0 {
        assert!(begun.elapsed() < WAIT, "{} bundles, {} states", left("bundles"), left("state"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(factory.sweep().await.unwrap(), 0, "no control group is left");
}

#[tokio::test]
async fn poison_ends_in_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let eater = container(&factory, "python:3", 128).await;
    init(&eater, "def main(a):\n    x = []\n    while True: x.append('x' * (1 << 20))\n").await;
    let eaten = run(&eater, json!({})).await;
    assert!(matches!(eaten, Err(ContainerError::Gone { out_of_memory: true, .. })), "{eaten:?}");
    eater.destroy().await;

    let writer = container(&factory, "python:3", 256).await;
    init(
        &writer,
        "def main(a):\n    line = 'x' * 1023\n    for _ in range(200 * 1024): print(line)\n    return {}\n",
    )
    .await;
    assert_eq!(run(&writer, json!({})).await.unwrap().0, 200);
    let logs = writer.logs(1 << 20, WAIT).await;
    assert!(logs.truncated && logs.complete, "{} lines", logs.lines.len());
    assert!(logs.lines.iter().map(String::len).sum::<usize>() <= 1 << 20);
    writer.destroy().await;

    let forker = container(&factory, "python:3", 256).await;
    init(&forker, "import os, time\ndef main(a):\n    n = 0\n    try:\n        while True:\n            if os.fork() == 0: time.sleep(1000)\n            n += 1\n    except OSError:\n        return {'n': n}\n").await;
    let (_, forked) = run(&forker, json!({})).await.unwrap();
    assert!(forked["n"].as_u64().unwrap() < 300, "{forked}");
    forker.destroy().await;

    let looper = container(&factory, "nodejs:20", 256).await;
    init(&looper, "function main() { while (true); }").await;
    let answer = looper
        .call(Call::Run, json!({"value": {}}).to_string().into(), Duration::from_millis(300), 100)
        .await;
    assert!(matches!(answer, Err(ContainerError::Timeout(_))));
    looper.destroy().await;
}

#[tokio::test]
async fn containers_of_a_dead_hub_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let first = factory(directory.path());
    let python = container(&first, "python:3", 256).await;
    // As a hub leaves it that is killed: nobody destroys it.
    std::mem::forget(python);
    let second = factory(directory.path());
    assert_eq!(second.sweep().await.unwrap(), 1);
    assert_eq!(second.sweep().await.unwrap(), 0);
    assert!(!directory.path().join("bundles").exists());
}

#[tokio::test]
async fn what_cannot_run_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    for kind in ["blackbox", "go:1.20"] {
        let spec = ContainerSpec { name: "t".into(), kind: kind.into(), memory_mb: 128, cpu_permille: 100 };
        let Err(ContainerError::Unsupported(text)) = factory.create(&spec).await else { panic!("{kind}") };
        assert!(text.contains(kind), "{text}");
    }
}
