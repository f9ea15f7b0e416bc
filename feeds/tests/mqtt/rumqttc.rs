//! Why rumqttc's event loop is not used (docs/decisions/0003-mqtt-client.md): killed after PUBREC, it never gets out again.

use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Outgoing, Packet, QoS, StateError};

use super::harness::*;

fn options(port: u16) -> MqttOptions {
    let mut options = MqttOptions::new("killed", "127.0.0.1", port);
    options.set_clean_session(false).set_manual_acks(true);
    options
}

#[tokio::test]
async fn rumqttc_killed_between_pubrec_and_pubcomp_refuses_the_pubrel_for_ever() {
    let (_directory, broker) = broker("");
    let (client, mut events) = AsyncClient::new(options(broker.port), 10);
    client.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let port = broker.port;
    tokio::task::spawn_blocking(move || mosquitto_pub(port, &["-t", "t", "-q", "2", "-m", "x"]))
        .await
        .unwrap();
    loop {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::Publish(publish)) => client.ack(&publish).await.unwrap(),
            // It is killed here: PUBREC is out, PUBREL is not there yet.
            Event::Outgoing(Outgoing::PubRec(_)) => break,
            _ => {}
        }
    }
    drop((client, events));

    let (_client, mut events) = AsyncClient::new(options(broker.port), 10);
    let mut refused = 0;
    while refused < 5 {
        let polled = tokio::time::timeout(Duration::from_secs(30), events.poll()).await.expect("it goes on");
        match polled {
            Err(ConnectionError::MqttState(StateError::Unsolicited(_))) => refused += 1,
            Err(other) => panic!("another failure than expected: {other}"),
            Ok(Event::Outgoing(Outgoing::PubComp(_))) => panic!("rumqttc confirms it now: use it"),
            Ok(_) => {}
        }
    }
}
