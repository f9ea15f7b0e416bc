use triggerfish_model::Timestamp;

use super::*;
use crate::hook::testing::request;

fn verifier(preset: &str, secrets: &[&str]) -> Verifier {
    let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    Verifier::new(Scheme::preset(preset).unwrap(), &secrets).unwrap()
}

/// `Ok`, or the reason of the refusal.
fn verified(verifier: &Verifier, at: i64, body: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
    let mut request = request(body, headers);
    request.received = Timestamp::from_millis(at * 1000);
    verifier.verify(&request).map_err(|error| error.reason.label())
}

#[test]
fn the_examples_of_the_senders_own_pages_are_right() {
    // GitHub, "Validating webhook deliveries".
    let github = verifier("github", &["It's a Secret to Everybody"]);
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(verified(&github, 0, "Hello, World!", &[("X-Hub-Signature-256", right)]), Ok(()));
    // Slack, "Verifying requests from Slack".
    let slack = verifier("slack", &["8f742231b10e8888abcd99yyyzzz85a5"]);
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
                trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let headers = [("X-Slack-Signature", signature), ("X-Slack-Request-Timestamp", "1531420618")];
    assert_eq!(verified(&slack, 1_531_420_620, body, &headers), Ok(()));
    // Standard Webhooks' reference implementations.
    let standard = verifier("standard-webhooks", &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
    let headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v2,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    assert_eq!(verified(&standard, 1_614_265_330, r#"{"test": 2432232314}"#, &headers), Ok(()));
    assert_eq!(verified(&standard, 1_614_265_330, r#"{"test": 2432232315}"#, &headers), Err("signature"));
    assert_eq!(verified(&standard, 1_614_265_330, "", &headers[1..]), Err("id"));
}

#[test]
fn times_of_signing_are_near_enough_or_refused() {
    let stripe = verifier("stripe", &["whsec_test_secret"]);
    let body = r#"{"id":"evt_1","object":"event"}"#;
    // Made with Python's hmac, as Stripe's page describes it.
    let signature = "7a0685c65fcda9f1dd585b6eaa74ead6d954e5895ecc08263afbd424c5661b46";
    let header = |value: &str| [("Stripe-Signature", value.to_owned())];
    let at = |at: i64, value: String| {
        let [(name, value)] = header(&value);
        verified(&stripe, at, body, &[(name, &value)])
    };
    let right = || format!("t=1614556800,v0=aa,v1=00,v1={signature}");
    assert_eq!(at(1_614_556_800, right()), Ok(()));
    assert_eq!(at(1_614_556_800 + 300, right()), Ok(()));
    assert_eq!(at(1_614_556_800 - 300, right()), Ok(()));
    assert_eq!(at(1_614_556_800 + 301, right()), Err("timestamp"));
    assert_eq!(at(1_614_556_800 - 301, right()), Err("timestamp"));
    assert_eq!(at(1_614_556_800, format!("v1={signature}")), Err("timestamp"));
    assert_eq!(at(1_614_556_800, format!("t=now,v1={signature}")), Err("timestamp"));
    assert_eq!(at(1_614_556_801, format!("t=1614556801,v1={signature}")), Err("signature"));
    assert_eq!(at(i64::MAX / 1000, format!("t={},v1={signature}", i64::MIN)), Err("timestamp"));
}

#[test]
fn hashes_and_encodings_are_as_the_scheme_says() {
    let own = |text: serde_json::Value| {
        Verifier::new(serde_json::from_value(text).unwrap(), &["key".to_owned()]).unwrap()
    };
    let body = "The quick brown fox jumps over the lazy dog";
    // Wikipedia's examples of HMAC-SHA1; SHA512 of the same with Python's hmac.
    let sha1 = own(serde_json::json!({"header": "X", "hash": "sha1"}));
    assert_eq!(verified(&sha1, 0, body, &[("x", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9")]), Ok(()));
    assert_eq!(verified(&sha1, 0, body, &[("x", "DE7C9B85B8B78AA6BC8A7A36F70A90701C9DB4D9")]), Ok(()));
    let sha512 = own(serde_json::json!({"header": "X", "hash": "sha512", "encoding": "base64"}));
    let right = "tCrwkFe6weLUFwjkipAuCbX/fxKrQopP6GZTxz3SSPuC+UilSfe3kaW0GRXuTR7Dk1NX5OIxclDQNyr6Lr7rOg==";
    assert_eq!(verified(&sha512, 0, body, &[("x", right)]), Ok(()));
    for wrong in ["x", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9", &right[..86]] {
        assert_eq!(verified(&sha512, 0, body, &[("x", wrong)]), Err("signature"), "{wrong}");
    }
}

#[test]
fn missing_cut_and_empty_signatures_are_refused() {
    let github = verifier("github", &["It's a Secret to Everybody"]);
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(verified(&github, 0, "Hello, World!", &[]), Err("unsigned"));
    assert_eq!(verified(&github, 0, "Hello, World!", &[("x-hub-signature-256", " ")]), Err("unsigned"));
    for wrong in [&right[..70], &right[7..], "sha256=", &format!("{right}00"), &right.replace('7', "8")] {
        let headers = [("x-hub-signature-256", wrong)];
        assert_eq!(verified(&github, 0, "Hello, World!", &headers), Err("signature"), "{wrong}");
    }
    let headers = [("x-hub-signature-256", right)];
    assert_eq!(verified(&github, 0, "Hello, World", &headers), Err("signature"), "a cut body");
}

#[test]
fn while_a_secret_changes_both_are_right() {
    let gitlab = verifier("gitlab", &["the-old-one", "the-new-one"]);
    for (token, expected) in
        [("the-old-one", Ok(())), ("the-new-one", Ok(())), ("the-old-on", Err("signature"))]
    {
        assert_eq!(verified(&gitlab, 0, "{}", &[("X-Gitlab-Token", token)]), expected, "{token}");
    }
    let bearer = verifier("bearer", &["a-long-token"]);
    assert_eq!(verified(&bearer, 0, "", &[("authorization", "Bearer a-long-token")]), Ok(()));
    assert_eq!(verified(&bearer, 0, "", &[("authorization", "Bearer another-one")]), Err("signature"));
}

#[test]
fn a_secret_that_is_no_key_is_refused() {
    let standard = Scheme::preset("standard-webhooks").unwrap();
    assert!(Verifier::new(standard.clone(), &["whsec_###".to_owned()]).is_err());
    assert!(Verifier::new(standard, &["whsec_AAAAAAAAAAA".to_owned()]).is_ok(), "without padding");
}
