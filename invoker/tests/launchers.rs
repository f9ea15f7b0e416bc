//! What the launchers promise to actions, in real containers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod engine;

use serde_json::json;
use triggerfish_invoker::Call;

use engine::{WAIT, call, container, factory, init, run};

/// The variables of a run are seen by the action, by copies of its environment and by processes that it starts, and they
/// are those of this run.
#[tokio::test]
async fn the_environment_is_that_of_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let python = "
import os, subprocess
def main(a):
    return {
        'own': os.environ['__OW_ACTIVATION_ID'],
        'child': subprocess.check_output(['/bin/sh', '-c', 'echo $__OW_ACTIVATION_ID $A'], text=True).strip(),
        'system': os.system('test \"$__OW_ACTIVATION_ID\" = ' + a['id']),
        'copy': dict(os.environ)['__OW_ACTIVATION_ID'],
    }
";
    let node = "
const { execSync } = require('child_process');
function main(a) {
  process.env.__OW_DEADLINE = 5;
  return {
    own: process.env.__OW_ACTIVATION_ID,
    child: execSync('echo $__OW_ACTIVATION_ID $A').toString().trim(),
    system: Object.keys(process.env).filter((k) => k === '__OW_ACTIVATION_ID').length - 1,
    copy: { ...process.env }.__OW_ACTIVATION_ID,
  };
}
";
    for (kind, code) in [("python:3", python), ("nodejs:20", node)] {
        let container = container(&factory, kind, 256).await;
        let env = json!({"A": "b", "__OW_ACTIVATION_ID": "0"});
        let body = json!({"value": {"main": "main", "code": code, "env": env}});
        assert_eq!(call(&container, Call::Init, body).await.unwrap().0, 200);
        for id in ["1", "2"] {
            let body = json!({"value": {"id": id}, "activation_id": id, "deadline": "1"});
            let (_, seen) = call(&container, Call::Run, body).await.unwrap();
            let expected = json!({"own": id, "child": format!("{id} b"), "system": 0, "copy": id});
            assert_eq!(seen, expected, "{kind}");
        }
        container.destroy().await;
    }
}

/// A process that the action forked and that comes back to the launcher answers nobody.
#[tokio::test]
async fn a_forked_process_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let python = container(&factory, "python:3", 256).await;
    init(
        &python,
        "import os\ndef main(a):\n    if os.fork() == 0: return {'child': 1}\n    os.wait()\n    return a\n",
    )
    .await;
    for n in 0..3 {
        assert_eq!(run(&python, json!({"n": n})).await.unwrap(), (200, json!({"n": n})));
        assert!(python.logs(1 << 20, WAIT).await.complete);
    }
    python.destroy().await;
}

/// What an action writes and never reads, more than a pipe holds, is there in order before its sentinel.
#[tokio::test]
async fn many_lines_arrive_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let factory = factory(directory.path());
    let codes = [
        ("python:3", "def main(a):\n    for n in range(5000): print(n, 'x' * 60)\n    return {}\n"),
        (
            "nodejs:20",
            "function main() { for (let n = 0; n < 5000; n++) console.log(n, 'x'.repeat(60)); return {}; }",
        ),
    ];
    for (kind, code) in codes {
        let container = container(&factory, kind, 256).await;
        init(&container, code).await;
        for _ in 0..2 {
            assert_eq!(run(&container, json!({})).await.unwrap().0, 200);
            let logs = container.logs(10 << 20, WAIT).await;
            assert!(logs.complete && !logs.truncated, "{kind}");
            let numbers: Vec<u32> = logs
                .lines
                .iter()
                .map(|line| line[39..].split(' ').next().unwrap().parse().unwrap())
                .collect();
            assert_eq!(numbers, (0..5000).collect::<Vec<_>>(), "{kind}");
        }
        container.destroy().await;
    }
}
