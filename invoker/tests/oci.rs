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
    let python = container(&factory, "python:3", 256).await;
    init(&python, "
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
        'usr': tries(lambda: write('/usr/x')),
        'rootfs': tries(lambda: write('/x')),
        'launcher': tries(lambda: write('/launcher/launcher.py')),
        'tmp': tries(lambda: write('/tmp/x')),
        'hub': tries(lambda: socket.create_connection(('127.0.0.1', a['port']), 2)),
        'uid': os.getuid(),
        'setuid': tries(lambda: os.setuid(0)),
        'mount': tries(lambda: __import__('ctypes').CDLL(None, use_errno=True).mount(b'none', b'/tmp', b'tmpfs', 0, None)),
        'unshare': tries(lambda: __import__('ctypes').CDLL(None).unshare(0x10000000)),
    }
").await;
    let port = listener.local_addr().unwrap().port();
    let (_, seen) = run(&python, json!({"data": directory.path(), "port": port})).await.unwrap();
    for refused in ["root", "shadow", "data", "usr", "rootfs", "launcher", "hub", "setuid"] {
        assert!(seen[refused].as_str().unwrap().starts_with("refused"), "{refused}: {seen}");
    }
    assert_eq!(seen["tmp"], "written", "{seen}");
    assert_eq!(seen["pids"], json!([1]), "{seen}");
    assert!(seen["uid"].as_u64().unwrap() >= 1_000_000, "{seen}");
    assert_eq!((&seen["mount"], &seen["unshare"]), (&json!("-1"), &json!("-1")), "{seen}");
    python.destroy().await;
}

#[tokio::test]
async fn poison_ends_in_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let eater = container(&factory, "python:3", 128).await;
    init(&eater, "def main(a):\n    x = []\n    while True: x.append('x' * (1 << 20))\n").await;
    assert!(matches!(run(&eater, json!({})).await, Err(ContainerError::Gone { out_of_memory: true, .. })));
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
