//! Messages through a real Kafka while the hub and the broker die: each message that matches its rule has exactly one trigger
//! record and exactly one run, whether it comes alone or in a batch (invariants 1 to 5).

use serde_json::{Value, json};

use crate::lives::{MATCHES, Remote, put_actions, survive, until_running, verify};
use crate::support::kafka::{Extra, Kafka};

const PARTITIONS: i32 = 4;

impl Remote for Kafka {
    fn publish(&self, values: &[String]) {
        for topic in ["alone", "batches"] {
            self.produce(topic, PARTITIONS, values);
        }
    }

    fn restart(&mut self) {
        self.stop();
        self.resume();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_matching_message_has_one_activation_whatever_dies() {
    let (directory, kafka_directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kafka = Kafka::start(kafka_directory.path(), &Extra::default());
    kafka.create("alone", PARTITIONS);
    kafka.create("batches", PARTITIONS);
    let broker = kafka.broker();
    let hub = survive(&directory.path().join("data"), kafka, async |client| {
        put_actions(client, "a.messages.map(message => message.value.n)").await;
        let hot = json!({"pattern": {"messages": {"value": {"hot": [true]}}}});
        for (topic, action, conditions, size) in
            [("alone", "alert", hot, 1), ("batches", "numbers", json!({}), 10_000)]
        {
            client.put(&format!("triggers/{topic}"), &json!({})).await;
            client.put_rule(&format!("r{topic}"), topic, action, conditions).await;
            let params = json!({"brokers": broker, "topic": topic, "startFrom": "earliest", "isJSONData": true,
                                "maxBatchSize": size});
            let (status, body) = client.create_feed("messaging/kafkaFeed", topic, params).await;
            assert_eq!(status, 200, "{body}");
        }
        until_running(client, 2).await;
    })
    .await;
    let client = hub.client();
    verify(&client, ("alone", "alert"), numbers, |n| n.is_multiple_of(MATCHES)).await;
    verify(&client, ("batches", "numbers"), numbers, |_| true).await;
    eprintln!("feeds: {}", client.get("feeds").await);
    assert!(hub.stop().success());
}

fn numbers(event: &Value) -> Vec<usize> {
    let messages = event["messages"].as_array().unwrap();
    messages.iter().map(|message| usize::try_from(message["value"]["n"].as_u64().unwrap()).unwrap()).collect()
}
