use triggerfish_model::ActivationId;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn request(feed: &str, params: Value) -> Result<LifecycleRequest, LifecycleError> {
    LifecycleRequest::read(
        feed.parse().unwrap(),
        &JsonObject::from_map(params.as_object().unwrap()),
        |name| {
            name.trim_start_matches('/')
                .parse()
                .map_err(|error: triggerfish_model::NameError| error.to_string())
        },
        "guest".parse().unwrap(),
    )
}

fn plan(params: Value, existing: Option<&Subscription>) -> Result<LifecyclePlan, String> {
    let request = request("whisk.system/alarms/interval", params).map_err(|error| error.0)?;
    decide(&request, existing, &fresh(), NOW).map_err(|error| error.0)
}

fn fresh() -> Fresh {
    Fresh { id: FeedId(ActivationId::from_bytes([7; 16])), secret: "made-by-chance".into() }
}

fn created() -> Subscription {
    let plan = plan(
        json!({"lifecycleEvent": "CREATE", "triggerName": "/guest/t", "authKey": "u:k", "minutes": 5}),
        None,
    );
    let Change::Put(subscription) = plan.unwrap().change else { panic!() };
    *subscription
}

#[test]
fn create_makes_a_subscription_without_what_belongs_to_the_protocol() {
    let subscription = created();
    assert_eq!(subscription.params.as_str(), r#"{"minutes":5}"#);
    assert_eq!((subscription.record, subscription.paused), (RecordPolicy::Matched, false));
    assert!(!format!("{subscription:?}").contains("u:k"));
}

#[test]
fn the_other_events_work_on_it() {
    let subscription = created();
    let call = |event: &str| json!({"lifecycleEvent": event, "triggerName": "/guest/t"});
    let read = plan(call("READ"), Some(&subscription)).unwrap();
    assert_eq!(read.answer.to_map()["config"]["minutes"], json!(5));
    assert_eq!(read.answer.to_map()["status"]["active"], json!(true));
    assert_eq!(plan(call("DELETE"), Some(&subscription)).unwrap().change, Change::Delete(subscription.id));
    let Change::Put(paused) = plan(call("PAUSE"), Some(&subscription)).unwrap().change else { panic!() };
    assert!(paused.paused);
    let mut update = call("UPDATE");
    assert_eq!(
        plan(update.clone(), Some(&subscription)),
        Err("no updatable parameters were specified".into())
    );
    update["minutes"] = json!(7);
    let Change::Put(updated) = plan(update, Some(&subscription)).unwrap().change else { panic!() };
    assert_eq!((updated.params.as_str(), updated.id), (r#"{"minutes":7}"#, subscription.id));
    assert_eq!(plan(call("DELETE"), None), Err("could not find trigger /guest/t in the database".into()));
    assert_eq!(plan(call("EXPLODE"), None), Err("unsupported lifecycleEvent".into()));
}

#[test]
fn parameters_are_checked_before_anything_changes() {
    let create = |params: Value| {
        let mut call = json!({"lifecycleEvent": "CREATE", "triggerName": "/guest/t"});
        call.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        plan(call, None).unwrap_err()
    };
    assert_eq!(create(json!({})), "interval trigger feed is missing the minutes parameter");
    assert_eq!(create(json!({"minutes": 0})), "the minutes parameter must be an integer greater than zero");
    assert!(create(json!({"minuts": 5})).contains("no parameter `minuts`; it has: "));
    assert!(create(json!({"minutes": 5, "record": "some"})).contains("expected \"matched\" or \"all\""));
}

#[test]
fn secrets_are_masked_wherever_parameters_are_shown() {
    let params = JsonObject::parse(r#"{"url":"mqtt://h","password":"geheim"}"#).unwrap();
    assert_eq!(redacted(&params).as_str(), r#"{"url":"mqtt://h","password":"***"}"#);
    let url = JsonObject::parse(r#"{"url":"mqtt://u:ge@heim@h:1883/x@y"}"#).unwrap();
    assert_eq!(redacted(&url).as_str(), r#"{"url":"mqtt://***@h:1883/x@y"}"#);
}

#[test]
fn every_example_of_the_catalogue_is_taken_and_unknown_fields_are_refused() {
    assert!(catalogue::actions().len() >= 4);
    for feed in catalogue::actions() {
        assert_eq!(feed.check(&feed.example, None, NOW), Ok(()), "{}/{}", feed.package, feed.name);
        let mut odd = feed.example.to_map();
        odd.insert("nosuchthing".into(), json!(1));
        let odd = JsonObject::from_map(&odd);
        assert!(feed.check(&odd, None, NOW).is_err(), "{}/{}", feed.package, feed.name);
        assert!(!feed.parameters().is_empty());
    }
}

#[test]
fn an_update_keeps_a_start_that_has_passed_and_refuses_a_new_one_in_the_past() {
    let call = |event: &str, params: Value| {
        let mut call = json!({"lifecycleEvent": event, "triggerName": "/guest/t"});
        call.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        call
    };
    for feed in ["alarms/interval", "alarms/alarm"] {
        let decided = |params: Value, existing: Option<&Subscription>, now: Timestamp| {
            let request = request(&format!("whisk.system/{feed}"), params).map_err(|error| error.0)?;
            decide(&request, existing, &fresh(), now).map_err(|error| error.0)
        };
        let kind = if feed == "alarms/alarm" { json!({"cron": "* * * * *"}) } else { json!({"minutes": 5}) };
        let mut create = call("CREATE", json!({"startDate": 2_000_000, "stopDate": 9_000_000}));
        create.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        let Change::Put(made) = decided(create, None, NOW).unwrap().change else { panic!() };
        let later = Timestamp::from_millis(3_000_000);
        let update = |params: Value, now: Timestamp| decided(call("UPDATE", params), Some(&made), now);
        let Change::Put(updated) = update(json!({"trigger_payload": {"a": 1}}), later).unwrap().change else {
            panic!()
        };
        assert_eq!(updated.params.to_map()["startDate"], json!(2_000_000));
        let past = update(json!({"startDate": 2_500_000}), later).unwrap_err();
        assert_eq!(past, "startDate parameter must be in the future");
        let over = update(json!({"trigger_payload": {}}), Timestamp::from_millis(9_500_000)).unwrap_err();
        assert_eq!(over, "stopDate parameter must be in the future");
    }
}
