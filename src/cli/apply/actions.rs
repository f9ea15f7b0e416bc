//! Actions and sequences of a manifest.

use std::path::Path;

use serde_json::{Map, Value, json};
use triggerfish_model::{Name, QualifiedName};

use super::code;
use super::manifest::{annotations, entity, pairs};
use super::reader::{Fields, Reader};
use super::wanted::{Kind, Use, Wanted};
use super::yaml::{Data, Key, Node, Position};

/// What `wskdeploy` takes for limits, with the API's name; its other names are those of limits that nobody can set.
const LIMITS: [(&str, &str); 4] =
    [("timeout", "timeout"), ("memorySize", "memory"), ("logSize", "logs"), ("concurrency", "concurrency")];

/// An action: `function` (a file or directory) or `code`, and how it runs.
pub(super) fn action(
    reader: &mut Reader<'_>,
    key: &Key,
    node: &Node,
    package: Option<&Name>,
    directory: &Path,
) -> Option<Wanted> {
    let what = format!("the action `{}`", key.text);
    let known = [
        "function",
        "code",
        "runtime",
        "main",
        "docker",
        "native",
        "conductor",
        "web",
        "web-export",
        "limits",
        "inputs",
        "annotations",
        "version",
    ];
    let fields = reader.fields(node, &what, &known, &["include", "exclude", "zipName"]);
    let name = reader.name(key, "an action");
    let exec = exec(reader, key, &fields, &what, directory);
    let inputs = reader.inputs(fields.given("inputs"), &format!("`inputs` of {what}"));
    let mut base = web(reader, &fields);
    if let Some(conductor) = fields.given("conductor").and_then(|node| reader.flag(node, "`conductor`")) {
        base.insert("conductor".to_owned(), json!(conductor));
    }
    let annotations = annotations(reader, &fields, base);
    let limits = limits(reader, &fields, &what);
    let version = fields.given("version").and_then(|node| reader.text(node, "`version`"));
    let (exec, runtime_at) = exec?;
    let mut document = Map::from_iter([
        ("exec".to_owned(), Value::Object(exec)),
        ("parameters".to_owned(), pairs(&inputs)),
        ("annotations".to_owned(), annotations),
        ("limits".to_owned(), Value::Object(limits)),
    ]);
    if let Some(version) = version {
        document.insert("version".to_owned(), json!(version));
    }
    let id = id_of(reader, package, name?);
    Some(Wanted { runtime_at, ..entity(Kind::Action, key, id, document) })
}

fn id_of(reader: &Reader<'_>, package: Option<&Name>, name: Name) -> QualifiedName {
    QualifiedName { namespace: reader.own.clone(), package: package.cloned(), name }
}

/// The action's `exec`, and where its runtime is chosen.
fn exec(
    reader: &mut Reader<'_>,
    key: &Key,
    fields: &Fields<'_>,
    what: &str,
    directory: &Path,
) -> Option<(Map<String, Value>, Option<Position>)> {
    let image = fields.given("docker").and_then(|node| reader.text(node, "`docker`"));
    let native = fields.given("native").and_then(|node| reader.flag(node, "`native`")).unwrap_or(false);
    let main = fields.given("main").and_then(|node| reader.text(node, "`main`"));
    let runtime = match fields.given("runtime") {
        None => None,
        Some(node) => Some((node.at, reader.text(node, "`runtime`")?)),
    };
    let mut by_suffix = None;
    let code = match (fields.given("function"), fields.given("code")) {
        (Some(_), Some(code)) => {
            reader.fault(code.at, format!("{what} has `function` and `code`; one of them was expected"));
            return None;
        }
        (Some(node), None) => {
            let path = directory.join(reader.text(node, "`function`")?);
            by_suffix = code::kind_of(&path).map(|kind| (node.at, kind.to_owned()));
            match code::read(&path) {
                Ok(code) => Some(code),
                Err(fault) => {
                    reader.fault(node.at, format!("the function of {what}: {fault}"));
                    return None;
                }
            }
        }
        (None, Some(node)) => Some(reader.raw(node, "`code`")?),
        (None, None) if image.is_some() => None,
        (None, None) => {
            reader.fault(key.at, format!("{what} has no `function` (a file) and no `code`"));
            return None;
        }
    };
    let mut exec = Map::new();
    let image = if native { Some("openwhisk/dockerskeleton".to_owned()) } else { image };
    let at = if let Some(image) = image {
        exec.extend([("kind".to_owned(), json!("blackbox")), ("image".to_owned(), json!(image))]);
        None
    } else {
        let Some((at, kind)) = runtime.or(by_suffix) else {
            reader.fault(key.at, format!("{what} has no `runtime`, like python:3 or nodejs:20"));
            return None;
        };
        exec.insert("kind".to_owned(), json!(kind.trim().to_lowercase()));
        Some(at)
    };
    exec.extend(code.map(|code| ("code".to_owned(), json!(code))));
    exec.extend(main.map(|main| ("main".to_owned(), json!(main))));
    Some((exec, at))
}

/// `web`: the annotations that make a web action (contract §8.1).
fn web(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Map<String, Value> {
    let Some(node) = fields.either("web", "web-export") else { return Map::new() };
    let Data::Scalar { text, .. } = &node.data else {
        reader.fault(node.at, format!("`web` is {}, but `yes`, `no` or `raw` was expected", node.kind()));
        return Map::new();
    };
    let (export, raw) = match text.to_lowercase().as_str() {
        "yes" | "true" => (true, false),
        "raw" => (true, true),
        "no" | "false" => (false, false),
        other => {
            reader.fault(node.at, format!("`web` is `{other}`, but `yes`, `no` or `raw` was expected"));
            return Map::new();
        }
    };
    [("web-export", export), ("raw-http", raw), ("final", export)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}

fn limits(reader: &mut Reader<'_>, fields: &Fields<'_>, what: &str) -> Map<String, Value> {
    let Some(node) = fields.given("limits") else { return Map::new() };
    let known = LIMITS.map(|(key, _)| key);
    let limits = reader.fields(node, &format!("`limits` of {what}"), &known, &[]);
    let mut read = Map::new();
    for (key, name) in LIMITS {
        if let Some(number) =
            limits.given(key).and_then(|node| reader.whole(node, &format!("the limit `{key}` of {what}")))
        {
            read.insert(name.to_owned(), json!(number));
        }
    }
    read
}

/// A sequence: `actions`, separated by commas or as a list.
pub(super) fn sequence(
    reader: &mut Reader<'_>,
    key: &Key,
    node: &Node,
    package: Option<&Name>,
) -> Option<Wanted> {
    let what = format!("the sequence `{}`", key.text);
    let known = ["actions", "web", "web-export", "annotations"];
    let fields = reader.fields(node, &what, &known, &[]);
    let base = web(reader, &fields);
    let annotations = annotations(reader, &fields, base);
    let name = reader.name(key, "a sequence");
    let Some(actions) = fields.given("actions") else {
        reader.fault(key.at, format!("{what} has no `actions`, like `judge, word`"));
        return None;
    };
    let names: Vec<(Position, String)> = match &actions.data {
        Data::List(nodes) => {
            nodes.iter().filter_map(|node| Some((node.at, reader.text(node, "an action's name")?))).collect()
        }
        _ => {
            let text = reader.text(actions, "`actions`")?;
            text.split(',').map(|name| (actions.at, name.trim().to_owned())).collect()
        }
    };
    let uses: Vec<Use> = names
        .iter()
        .filter_map(|(at, text)| {
            Some(Use { at: *at, kind: Kind::Action, id: reader.reference(*at, text, package)? })
        })
        .collect();
    let components: Vec<String> = uses.iter().map(|of| format!("/{}", of.id)).collect();
    let document = Map::from_iter([
        ("exec".to_owned(), json!({ "kind": "sequence", "components": components })),
        ("annotations".to_owned(), annotations),
    ]);
    let id = id_of(reader, package, name?);
    Some(Wanted { uses, ..entity(Kind::Sequence, key, id, document) })
}
