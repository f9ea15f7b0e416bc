//! Whether what is on the hub is what a manifest asks for. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::wanted::{Kind, Wanted};

/// Annotations of actions that the hub keeps by itself.
const OF_HUB: [&str; 2] = ["exec", "provide-api-key"];
/// The annotation of a binding that the hub keeps by itself.
const BINDING: &str = "binding";

/// Parameters or annotations by key.
type Pairs = BTreeMap<String, Value>;

/// Reads an array of `{key, value}`.
pub(super) fn pairs_of(array: Option<&Value>) -> Pairs {
    let none = Vec::new();
    let elements = array.and_then(Value::as_array).unwrap_or(&none);
    let pair = |element: &Value| {
        Some((element.get("key")?.as_str()?.to_owned(), element.get("value").cloned().unwrap_or(Value::Null)))
    };
    elements.iter().filter_map(pair).collect()
}

/// Whether `stored`, as GET answers it, is what `wanted` asks for. `inherited` are the parameters of the action's
/// package as they are on the hub now: GET shows them merged into the action's own.
pub(super) fn same(wanted: &Wanted, stored: &Value, inherited: Option<&Value>) -> bool {
    let document = &wanted.document;
    let version = document.get("version").is_none_or(|version| stored.get("version") == Some(version));
    version
        && match wanted.kind {
            Kind::Package => {
                document.get("publish") == stored.get("publish")
                    && same_pairs(document, stored, "parameters")
                    && same_pairs(document, stored, "annotations")
            }
            Kind::Binding => same_binding(document, stored),
            Kind::Action => {
                let mut parameters = pairs_of(inherited);
                parameters.extend(pairs_of(document.get("parameters")));
                same_exec(document, stored)
                    && parameters == pairs_of(stored.get("parameters"))
                    && superfluous(wanted, stored).is_empty()
                    && includes(&pairs_of(document.get("annotations")), &pairs_of(stored.get("annotations")))
                    && same_limits(document, stored)
            }
            Kind::Sequence => {
                same_exec(document, stored)
                    && superfluous(wanted, stored).is_empty()
                    && includes(&pairs_of(document.get("annotations")), &pairs_of(stored.get("annotations")))
            }
            Kind::Trigger => {
                same_pairs(document, stored, "parameters") && same_pairs(document, stored, "annotations")
            }
            Kind::Rule => {
                let given = |of: Option<&Value>| of.filter(|value| !value.is_null()).cloned();
                let condition = |key: &str| given(document.get(key)) == given(stored.get(key));
                ["pattern", "when", "with", "retry"].iter().all(|key| condition(key))
                    && same_pairs(document, stored, "annotations")
                    && ["trigger", "action"]
                        .iter()
                        .all(|key| document.get(*key) == reference(stored.get(*key)).as_ref())
            }
        }
}

/// The body of the PUT: what the manifest says, and which annotations go.
pub(super) fn body(wanted: &Wanted, stored: Option<&Value>) -> Value {
    let mut body = wanted.document.clone();
    if let (Kind::Action | Kind::Sequence, Some(stored)) = (wanted.kind, stored) {
        let superfluous = superfluous(wanted, stored);
        if !superfluous.is_empty() {
            body.insert("delAnnotations".to_owned(), json!(superfluous));
        }
    }
    Value::Object(body)
}

/// Annotations of an action that are on the hub and not in the manifest: a PUT merges them, so they are named.
fn superfluous(wanted: &Wanted, stored: &Value) -> Vec<String> {
    let kept = pairs_of(wanted.document.get("annotations"));
    let stored = pairs_of(stored.get("annotations"));
    stored.into_keys().filter(|key| !kept.contains_key(key) && !OF_HUB.contains(&key.as_str())).collect()
}

fn same_pairs(document: &Map<String, Value>, stored: &Value, key: &str) -> bool {
    pairs_of(document.get(key)) == pairs_of(stored.get(key))
}

fn includes(part: &Pairs, whole: &Pairs) -> bool {
    part.iter().all(|(key, value)| whole.get(key) == Some(value))
}

/// Of a binding the hub shows the provider's parameters with the binding's over them, so one that was taken out of the
/// manifest cannot be told.
fn same_binding(document: &Map<String, Value>, stored: &Value) -> bool {
    let mut annotations = pairs_of(stored.get("annotations"));
    let binding = annotations.remove(BINDING);
    binding.as_ref() == document.get(BINDING)
        && annotations == pairs_of(document.get("annotations"))
        && includes(&pairs_of(document.get("parameters")), &pairs_of(stored.get("parameters")))
}

fn same_exec(document: &Map<String, Value>, stored: &Value) -> bool {
    let (Some(wanted), Some(stored)) = (document.get("exec"), stored.get("exec")) else { return false };
    let trimmed = |exec: &Value| exec.get("code").and_then(Value::as_str).map(|code| code.trim().to_owned());
    ["kind", "image", "main", "components"].iter().all(|key| wanted.get(*key) == stored.get(*key))
        && (wanted.get("code") == stored.get("code") || trimmed(wanted) == trimmed(stored))
}

fn same_limits(document: &Map<String, Value>, stored: &Value) -> bool {
    let wanted = document.get("limits").and_then(Value::as_object);
    wanted.is_none_or(|wanted| {
        wanted.iter().all(|(key, value)| stored.pointer(&format!("/limits/{key}")) == Some(value))
    })
}

/// `{path, name}` as `/path/name`.
fn reference(stored: Option<&Value>) -> Option<Value> {
    let text = |key: &str| stored?.get(key)?.as_str();
    Some(json!(format!("/{}/{}", text("path")?, text("name")?)))
}

/// Whether the parameters of a feed, as READ answers them, differ from the wanted ones. A value that is shown masked
/// cannot be told from another: the digest of what was applied last decides then.
pub(super) fn feed_differs(params: &Map<String, Value>, config: &Value, same_digest: bool) -> bool {
    /// What READ adds to the parameters (contract §3.2).
    const OF_READ: [&str; 2] = ["name", "namespace"];
    let none = Map::new();
    let config = config.as_object().unwrap_or(&none);
    let masked = |value: &Value| value.as_str().is_some_and(|text| text == "***" || text.contains("://***@"));
    let differs = |(key, value): (&String, &Value)| match config.get(key) {
        Some(shown) if masked(shown) => !same_digest,
        Some(shown) => shown != value,
        None => true,
    };
    params.iter().any(differs)
        || config.keys().any(|key| !params.contains_key(key) && !OF_READ.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::apply::yaml::Position;

    fn wanted(kind: Kind, document: Value) -> Wanted {
        let Value::Object(document) = document else { panic!() };
        Wanted {
            kind,
            at: Position::default(),
            id: "guest/x".parse().unwrap(),
            document,
            runtime_at: None,
            uses: Vec::new(),
            feed: None,
            conditions_at: Vec::new(),
            active: true,
        }
    }

    #[test]
    fn an_action_is_compared_with_what_it_inherits_taken_off() {
        let document = json!({
            "exec": {"kind": "python:3", "code": "x"}, "parameters": [{"key": "a", "value": 1}],
            "annotations": [{"key": "n", "value": true}], "limits": {"timeout": 100},
        });
        let stored = json!({
            "exec": {"kind": "python:3", "code": "x", "binary": false},
            "parameters": [{"key": "p", "value": 0}, {"key": "a", "value": 1}],
            "annotations": [{"key": "n", "value": true}, {"key": "exec", "value": "python:3"}],
            "limits": {"timeout": 100, "memory": 256},
        });
        let inherited = json!([{"key": "p", "value": 0}]);
        let of = |change: &dyn Fn(&mut Value)| {
            let mut stored = stored.clone();
            change(&mut stored);
            same(&wanted(Kind::Action, document.clone()), &stored, Some(&inherited))
        };
        assert!(of(&|_| {}));
        assert!(!of(&|stored| stored["exec"]["code"] = json!("y")));
        assert!(!of(&|stored| stored["exec"]["main"] = json!("y")));
        assert!(!of(&|stored| stored["limits"]["timeout"] = json!(200)));
        assert!(!of(&|stored| stored["parameters"][1]["value"] = json!(2)));
        let extra = json!([{"key": "n", "value": true}, {"key": "old", "value": 1}]);
        assert!(!of(&|stored| stored["annotations"] = extra.clone()));
        let body = body(&wanted(Kind::Action, document.clone()), Some(&json!({"annotations": extra})));
        assert_eq!(body["delAnnotations"], json!(["old"]));
    }

    #[test]
    fn rules_are_compared_with_their_conditions() {
        let document = json!({
            "trigger": "/guest/t", "action": "/guest/p/a", "pattern": {"n": [1]}, "when": null, "with": null,
            "annotations": [],
        });
        let mut stored = json!({
            "trigger": {"path": "guest", "name": "t"}, "action": {"path": "guest/p", "name": "a"},
            "pattern": {"n": [1]}, "annotations": [],
        });
        assert!(same(&wanted(Kind::Rule, document.clone()), &stored, None));
        stored["when"] = json!("true");
        assert!(!same(&wanted(Kind::Rule, document), &stored, None));
    }

    #[test]
    fn masked_parameters_are_told_by_what_was_applied_last() {
        let params = json!({"url": "mqtt://h", "password": "x"});
        let params = params.as_object().unwrap();
        let config = json!({"url": "mqtt://h", "password": "***", "name": "t", "namespace": "guest"});
        assert!(!feed_differs(params, &config, true));
        assert!(feed_differs(params, &config, false));
        assert!(feed_differs(params, &json!({"url": "mqtt://h"}), true));
        assert!(feed_differs(&Map::new(), &json!({"qos": 1}), true));
    }
}
