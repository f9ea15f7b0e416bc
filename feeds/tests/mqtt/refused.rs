//! What is refused, and what the error says: packets above the limit, brokers, credentials, topics, certificates.

use serde_json::{Value, json};
use triggerfish_model::FeedState;

use super::certificates::certificates;
use super::harness::*;

#[test]
fn a_packet_at_the_limit_arrives_and_one_above_is_refused_acknowledged_and_told() {
    let (directory, broker) = broker("");
    for (version, qos) in [(3, 1), (5, 2), (5, 1)] {
        let topic = format!("v{version}q{qos}");
        let durable = Durable::default();
        let params =
            json!({"url": broker.url(), "topic": topic, "qos": qos, "version": version, "clientId": topic});
        let life = Life::begin(&durable, &params);
        life.until_running();
        let qos = qos.to_string();
        let publish = |bytes: usize| {
            let path = directory.path().join("payload");
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            mosquitto_pub(broker.port, &["-t", &topic, "-q", &qos, "-f", path.to_str().unwrap()]);
        };
        // One that is read and then refused, one that is skipped unread, and the largest that is taken.
        publish(EVENT_BYTES_MAX + 1);
        publish(EVENT_BYTES_MAX + 1_000_000);
        publish(EVENT_BYTES_MAX);
        mosquitto_pub(broker.port, &["-t", &topic, "-q", &qos, "-m", "after"]);
        until_events(&durable, 2);
        let lengths: Vec<usize> = durable.bodies().iter().map(|body| body.as_str().unwrap().len()).collect();
        assert_eq!(lengths, [EVENT_BYTES_MAX, 5]);
        let (status, error) = (life.status(), life.last_error().unwrap());
        assert_eq!((status.state, status.refused, status.duplicates), (FeedState::Running, 2, 0));
        assert!(error.contains(&topic) && error.contains("larger than 25000000"), "{error}");
        life.crash();
        // It was acknowledged: it does not come again.
        let life = Life::begin(&durable, &params);
        life.until_running();
        mosquitto_pub(broker.port, &["-t", &topic, "-q", &qos, "-m", "later"]);
        until_events(&durable, 3);
        assert_eq!((life.status().refused, life.last_error()), (0, None));
        life.stop();
    }
}

/// The error of a feed with these parameters.
fn error_of(params: &Value) -> String {
    let life = Life::begin(&Durable::default(), params);
    let error = life.until_failed();
    assert!(!error.contains("geheim"), "{error}");
    life.stop();
    error
}

#[test]
fn an_unreachable_broker_is_named_with_what_was_tried() {
    let port = super::free_port();
    let error = error_of(&json!({"url": format!("mqtt://u:geheim@127.0.0.1:{port}"), "topic": "t"}));
    assert_eq!(
        error,
        format!("cannot reach the MQTT broker 127.0.0.1:{port}: Connection refused (os error 111)")
    );
    let error = error_of(&json!({"url": "mqtt://no-such-host.invalid", "topic": "t"}));
    assert!(error.starts_with("cannot reach the MQTT broker no-such-host.invalid:1883: "), "{error}");
}

#[test]
fn wrong_credentials_are_refused_and_right_ones_taken() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", passwords.to_str().unwrap(), "sensor", "geheim"])
        .status()
        .expect("mosquitto_passwd comes with mosquitto");
    assert!(made.success());
    let extra = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = super::broker::Broker::start(directory.path(), &extra);
    for version in [3, 5] {
        let params = |user: Option<&str>, password: &str| json!({"url": broker.url(), "topic": "t", "username": user, "password": password, "version": version});
        let peer = format!("the MQTT broker 127.0.0.1:{}", broker.port);
        assert_eq!(
            error_of(&params(Some("sensor"), "geheimnis")),
            format!("{peer} refused the user `sensor`: not authorized")
        );
        let anonymous = json!({"url": broker.url(), "topic": "t", "version": version});
        assert_eq!(
            error_of(&anonymous),
            format!("{peer} refused a client without user and password: not authorized")
        );
        let durable = Durable::default();
        let url = format!("mqtt://sensor:geheim@127.0.0.1:{}", broker.port);
        for right in [params(Some("sensor"), "geheim"), json!({"url": url, "topic": "t", "version": version})]
        {
            let life = Life::begin(&durable, &right);
            life.until_running();
            life.stop();
        }
    }
}

#[test]
fn a_topic_that_the_broker_refuses_is_named() {
    // The broker grants QoS 1 at most; what is promised for QoS 2 cannot be kept then.
    let (_directory, broker) = broker("max_qos 1");
    for version in [3, 5] {
        let error =
            error_of(&json!({"url": broker.url(), "topic": ["a", "b"], "qos": 2, "version": version}));
        let expected = format!(
            "the MQTT broker 127.0.0.1:{} refused the topic `a`: it grants QoS 1, not 2",
            broker.port
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn tls_needs_a_certificate_that_is_trusted_and_of_that_name() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = certificates("localhost", "ours");
    for (name, text) in [("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().display();
    let broker = super::broker::Broker::start(
        directory.path(),
        &format!("certfile {path}/cert.pem\nkeyfile {path}/key.pem"),
    );
    let port = broker.port;
    let (other, _, _) = certificates("localhost", "theirs");
    for (url, ca, expected) in [
        (format!("mqtts://localhost:{port}"), Some(&other), "UnknownIssuer"),
        (format!("mqtts://localhost:{port}"), None, "UnknownIssuer"),
        (format!("mqtts://127.0.0.1:{port}"), Some(&ca), "not valid for name"),
        (format!("mqtt://localhost:{port}"), None, "instead of answering CONNECT"),
    ] {
        let error = error_of(&json!({"url": url, "topic": "t", "ca": ca}));
        assert!(error.contains(expected) && error.contains(&format!(":{port}")), "{url}: {error}");
    }
    let durable = Durable::default();
    for version in [3, 5] {
        let params =
            json!({"url": format!("mqtts://localhost:{port}"), "topic": "t", "ca": ca, "version": version});
        let life = Life::begin(&durable, &params);
        life.until_running();
        life.stop();
    }
}

#[test]
fn tls_and_a_password_deliver_what_plain_does() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = certificates("localhost", "ours");
    for (name, text) in [("ca.pem", &ca), ("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().display();
    let broker = super::broker::Broker::start(
        directory.path(),
        &format!("certfile {path}/cert.pem\nkeyfile {path}/key.pem"),
    );
    let durable = Durable::default();
    let url = format!("mqtts://localhost:{}", broker.port);
    let life = Life::begin(&durable, &json!({"url": url, "topic": "t", "ca": ca, "qos": 2}));
    life.until_running();
    let ca = directory.path().join("ca.pem");
    let large = directory.path().join("large");
    std::fs::write(&large, vec![b'y'; 3_000_000]).unwrap();
    let port = broker.port.to_string();
    for message in [["-m", "small"], ["-f", large.to_str().unwrap()], ["-m", "after"]] {
        let status = std::process::Command::new("mosquitto_pub")
            .args(["-h", "localhost", "-p", &port, "--cafile", ca.to_str().unwrap(), "-t", "t", "-q", "2"])
            .args(message)
            .status()
            .unwrap();
        assert!(status.success());
    }
    until_events(&durable, 3);
    let lengths: Vec<usize> = durable.bodies().iter().map(|body| body.as_str().unwrap().len()).collect();
    assert_eq!(lengths, [5, 3_000_000, 5]);
    life.stop();
}
