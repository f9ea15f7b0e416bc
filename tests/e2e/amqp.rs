//! Messages through a real RabbitMQ while the hub and the broker die: each message that matches its rule has exactly one
//! trigger record and exactly one run, whether the message names itself or not, in a classic queue or a quorum queue
//! (invariants 1 to 5).

use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::lives::{MATCHES, Remote, put_actions, survive, until_running, verify};
use crate::support::rabbit::Rabbit;

impl Remote for Rabbit {
    fn publish(&self, values: &[String]) {
        Rabbit::publish(self, "unnamed", values);
        let named = values.iter().map(|value| {
            let n = serde_json::from_str::<Value>(value).unwrap()["n"].to_string();
            (BasicProperties::default().with_message_id(n.into()), value.as_bytes())
        });
        self.publish_each("", "named", named);
    }

    fn restart(&mut self) {
        self.stop();
        self.resume();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_matching_message_has_one_activation_whatever_dies() {
    let (directory, rabbit_directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rabbit = Rabbit::start(rabbit_directory.path(), "");
    let url = rabbit.url();
    let hub = survive(&directory.path().join("data"), rabbit, async |client| {
        put_actions(client, "[a.body.n]").await;
        for (queue, action, kind) in [("unnamed", "alert", "classic"), ("named", "numbers", "quorum")] {
            client.put(&format!("triggers/{queue}"), &json!({})).await;
            let hot = json!({"pattern": {"body": {"hot": [true]}}});
            client.put_rule(&format!("r{queue}"), queue, action, hot).await;
            let params = json!({"url": url, "queue": queue, "declare": true, "queueType": kind});
            let (status, body) = client.create_feed("messaging/amqpFeed", queue, params).await;
            assert_eq!(status, 200, "{body}");
        }
        until_running(client, 2).await;
    })
    .await;
    let client = hub.client();
    verify(&client, ("unnamed", "alert"), numbers, |n| n.is_multiple_of(MATCHES)).await;
    verify(&client, ("named", "numbers"), numbers, |n| n.is_multiple_of(MATCHES)).await;
    eprintln!("feeds: {}", client.get("feeds").await);
    assert!(hub.stop().success());
}

fn numbers(event: &Value) -> Vec<usize> {
    vec![usize::try_from(event["body"]["n"].as_u64().unwrap()).unwrap()]
}
