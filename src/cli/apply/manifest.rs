//! A manifest's tree becomes the list of entities that it asks for: the YAML of `wskdeploy` with our rules' conditions.

use std::path::Path;

use serde_json::{Map, Value, json};
use triggerfish_model::{Name, Namespace, QualifiedName};

use super::actions;
use super::reader::{Fields, Reader};
use super::variables::Variables;
use super::wanted::{Kind, Use, Wanted, WantedFeed};
use super::yaml::{Fault, Key, Node};

/// Parts of `wskdeploy`'s manifests that are not here: nested projects, API gateways, its own deployment of feeds.
const UNSUPPORTED: [&str; 2] = ["apis", "feeds"];

/// Reads the manifest `node`, whose files are relative to `directory`. `Err` is all that is wrong with it.
pub(super) fn read(
    node: &Node,
    directory: &Path,
    own: &Namespace,
    variables: Variables<'_>,
) -> Result<Vec<Wanted>, Vec<Fault>> {
    let mut reader = Reader { variables, own: own.clone(), faults: Vec::new() };
    let mut wanted = Vec::new();
    let top = reader.fields(node, "the manifest", &["project", "packages"], &[]);
    let mut packages: Vec<&Node> = top.given("packages").into_iter().collect();
    if let Some(project) = top.given("project") {
        let known = ["name", "namespace", "credential", "apiHost", "version", "packages", "inputs"];
        let project = reader.fields(project, "the project", &known, &[]);
        for key in ["credential", "apiHost", "namespace"] {
            if let Some(at) = project.at(key).filter(|_| project.given(key).is_some()) {
                reader.fault(
                    at,
                    format!("`{key}` is not read from a manifest: give --host and TRIGGERFISH_AUTH"),
                );
            }
        }
        if let Some(at) = project.at("inputs") {
            reader.fault(at, "`inputs` of a project mean nothing here: give them to its packages");
        }
        packages.extend(project.given("packages"));
    }
    if packages.is_empty() && reader.faults.is_empty() {
        reader.fault(top.at, "the manifest has no `packages`");
    }
    for node in packages {
        for (key, node) in reader.entries(node, "`packages`") {
            package(&mut reader, key, node, directory, &mut wanted);
        }
    }
    refuse_doubles(&mut reader, &wanted);
    order(&mut reader, &mut wanted);
    if reader.faults.is_empty() {
        Ok(wanted)
    } else {
        reader.faults.sort();
        Err(reader.faults)
    }
}

fn package(reader: &mut Reader<'_>, key: &Key, node: &Node, directory: &Path, wanted: &mut Vec<Wanted>) {
    let what = format!("the package `{}`", key.text);
    let known = [
        "version",
        "license",
        "public",
        "inputs",
        "annotations",
        "actions",
        "sequences",
        "triggers",
        "rules",
        "dependencies",
    ];
    let fields = reader.fields(node, &what, &known, &UNSUPPORTED);
    let name = if key.text == "default" { None } else { reader.name(key, "a package") };
    let inputs = reader.inputs(fields.given("inputs"), &format!("`inputs` of {what}"));
    match &name {
        Some(name) => {
            let public = fields.given("public").and_then(|node| reader.flag(node, "`public`"));
            let mut document = Map::from_iter([
                ("parameters".to_owned(), pairs(&inputs)),
                ("annotations".to_owned(), annotations(reader, &fields, Map::new())),
                ("publish".to_owned(), json!(public.unwrap_or(false))),
            ]);
            if let Some(version) = fields.given("version").and_then(|node| reader.text(node, "`version`")) {
                document.insert("version".to_owned(), json!(version));
            }
            wanted.push(entity(Kind::Package, key, reader.own.with(name.clone()), document));
        }
        None if key.text == "default" && !inputs.is_empty() => {
            reader.fault(key.at, "the package `default` is none, and so can have no `inputs`");
        }
        None => {}
    }
    for (section, one) in [
        ("dependencies", Section::Dependencies),
        ("actions", Section::Actions),
        ("sequences", Section::Sequences),
        ("triggers", Section::Triggers),
        ("rules", Section::Rules),
    ] {
        let Some(node) = fields.given(section) else { continue };
        for (key, node) in reader.entries(node, &format!("`{section}` of {what}")) {
            let read = match one {
                Section::Dependencies => dependency(reader, key, node),
                Section::Actions => actions::action(reader, key, node, name.as_ref(), directory),
                Section::Sequences => actions::sequence(reader, key, node, name.as_ref()),
                Section::Triggers => trigger(reader, key, node),
                Section::Rules => rule(reader, key, node, name.as_ref()),
            };
            wanted.extend(read);
        }
    }
}

#[derive(Clone, Copy)]
enum Section {
    Dependencies,
    Actions,
    Sequences,
    Triggers,
    Rules,
}

/// An entity that refers to nothing yet.
pub(super) fn entity(kind: Kind, key: &Key, id: QualifiedName, document: Map<String, Value>) -> Wanted {
    Wanted {
        kind,
        at: key.at,
        id,
        document,
        runtime_at: None,
        uses: Vec::new(),
        feed: None,
        conditions_at: Vec::new(),
        active: true,
    }
}

/// Parameters as the API has them.
pub(super) fn pairs(map: &Map<String, Value>) -> Value {
    map.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// The annotations of `fields` over `base`.
pub(super) fn annotations(reader: &mut Reader<'_>, fields: &Fields<'_>, base: Map<String, Value>) -> Value {
    let mut all = base;
    if let Some(node) = fields.given("annotations") {
        for (key, node) in reader.entries(node, "`annotations`") {
            let value = reader.json(node, true);
            all.insert(key.text.clone(), value);
        }
    }
    pairs(&all)
}

fn dependency(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Wanted> {
    let what = format!("the dependency `{}`", key.text);
    let fields = reader.fields(node, &what, &["location", "inputs", "annotations", "version"], &[]);
    let inputs = reader.inputs(fields.given("inputs"), &format!("`inputs` of {what}"));
    let annotations = annotations(reader, &fields, Map::new());
    let name = reader.name(key, "a dependency")?;
    let Some(location) = fields.given("location") else {
        reader.fault(key.at, format!("{what} has no `location`, like /whisk.system/alarms"));
        return None;
    };
    let text = reader.text(location, "`location`")?;
    let provider = match text.strip_prefix('/').map(|_| reader.reference(location.at, &text, None)) {
        Some(provider) => provider?,
        None => {
            reader.fault(
                location.at,
                format!(
                    "`{text}` is no package of a hub: only a /namespace/package can be a dependency here"
                ),
            );
            return None;
        }
    };
    let binding = json!({ "namespace": provider.namespace, "name": provider.name });
    let document = Map::from_iter([
        ("binding".to_owned(), binding),
        ("parameters".to_owned(), pairs(&inputs)),
        ("annotations".to_owned(), annotations),
    ]);
    let uses = vec![Use { at: location.at, kind: Kind::Package, id: provider }];
    Some(Wanted { uses, ..entity(Kind::Binding, key, reader.own.with(name), document) })
}

fn trigger(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Wanted> {
    let what = format!("the trigger `{}`", key.text);
    let empty = Node { at: node.at, data: super::yaml::Data::Map(Vec::new()) };
    // A trigger without any field is the usual one.
    let node = if node.is_null() { &empty } else { node };
    let fields = reader.fields(node, &what, &["feed", "source", "inputs", "annotations"], &["credential"]);
    let inputs = reader.inputs(fields.given("inputs"), &format!("`inputs` of {what}"));
    let name = reader.name(key, "a trigger")?;
    let feed = match fields.either("feed", "source") {
        None => None,
        Some(node) => {
            let text = reader.text(node, "`feed`")?;
            Some((node.at, reader.reference(node.at, &text, None)?))
        }
    };
    let base = feed.iter().map(|(_, action)| ("feed".to_owned(), json!(format!("/{action}")))).collect();
    let annotations = annotations(reader, &fields, base);
    // With a feed the inputs are the feed's, as with `wsk trigger create --feed`.
    let parameters = if feed.is_some() { json!([]) } else { pairs(&inputs) };
    let document =
        Map::from_iter([("parameters".to_owned(), parameters), ("annotations".to_owned(), annotations)]);
    let params_at = match fields.given("inputs").map(|node| &node.data) {
        Some(super::yaml::Data::Map(pairs)) => {
            pairs.iter().map(|(key, _)| (key.text.clone(), key.at)).collect()
        }
        _ => Vec::new(),
    };
    let feed = feed.map(|(at, action)| WantedFeed { at, action, params: inputs, params_at });
    Some(Wanted { feed, ..entity(Kind::Trigger, key, reader.own.with(name), document) })
}

fn rule(reader: &mut Reader<'_>, key: &Key, node: &Node, package: Option<&Name>) -> Option<Wanted> {
    let what = format!("the rule `{}`", key.text);
    let known = ["trigger", "action", "pattern", "when", "with", "retry", "status", "annotations"];
    let fields = reader.fields(node, &what, &known, &[]);
    let name = reader.name(key, "a rule");
    let annotations = annotations(reader, &fields, Map::new());
    let mut mapping = |key: &str| {
        let node = fields.given(key)?;
        let value = reader.json(node, false);
        if !matches!(value, Value::Object(_) | Value::Null) {
            reader.fault(node.at, format!("the {key} is {}, but a mapping was expected", node.kind()));
        }
        Some(value)
    };
    let (pattern, retry) = (mapping("pattern"), mapping("retry"));
    let when = fields.given("when").and_then(|node| reader.raw(node, "`when`"));
    let with = fields.given("with").and_then(|node| reader.raw(node, "`with`"));
    let active = match fields.given("status").and_then(|node| Some((node.at, reader.raw(node, "`status`")?)))
    {
        None => true,
        Some((_, text)) if text == "active" => true,
        Some((_, text)) if text == "inactive" => false,
        Some((at, text)) => {
            reader.fault(at, format!("the status is `{text}`; expected `active` or `inactive`"));
            true
        }
    };
    let mut part = |field: &str, package| {
        let Some(node) = fields.given(field) else {
            reader.fault(key.at, format!("{what} has no `{field}`"));
            return None;
        };
        let text = reader.text(node, &format!("`{field}`"))?;
        Some((node.at, reader.reference(node.at, &text, package)?))
    };
    let (trigger, action) = (part("trigger", None), part("action", package));
    let ((trigger_at, trigger), (action_at, action)) = (trigger?, action?);
    let document = Map::from_iter([
        ("trigger".to_owned(), json!(format!("/{trigger}"))),
        ("action".to_owned(), json!(format!("/{action}"))),
        // What the manifest leaves out is taken out on the hub as well.
        ("pattern".to_owned(), pattern.unwrap_or(Value::Null)),
        ("when".to_owned(), json!(when)),
        ("with".to_owned(), json!(with)),
        ("retry".to_owned(), retry.unwrap_or(Value::Null)),
        ("annotations".to_owned(), annotations),
    ]);
    let uses = vec![
        Use { at: trigger_at, kind: Kind::Trigger, id: trigger },
        Use { at: action_at, kind: Kind::Action, id: action },
    ];
    let conditions_at = ["pattern", "when", "with", "retry"]
        .into_iter()
        .filter_map(|key| Some((key, fields.given(key)?.at)))
        .collect();
    Some(Wanted { uses, conditions_at, active, ..entity(Kind::Rule, key, reader.own.with(name?), document) })
}

/// Names are unique among all triggers and rules, and among packages; actions and sequences share theirs.
fn refuse_doubles(reader: &mut Reader<'_>, wanted: &[Wanted]) {
    for (n, one) in wanted.iter().enumerate() {
        let first = wanted.iter().take(n).find(|other| other.id == one.id);
        if let Some(first) = first {
            reader.fault(
                one.at,
                format!(
                    "the name `{}` is taken by the {} in line {}",
                    one.id.local(),
                    first.kind.as_str(),
                    first.at.line
                ),
            );
        }
    }
}

/// Sorts the entities so that what is referred to comes first; sequences after those that they run.
fn order(reader: &mut Reader<'_>, wanted: &mut Vec<Wanted>) {
    let rank = |of: &Wanted| match of.kind {
        Kind::Package => 0,
        Kind::Binding => 1,
        Kind::Action => 2,
        Kind::Sequence => 3,
        Kind::Trigger => 4,
        Kind::Rule => 5,
    };
    wanted.sort_by_key(rank);
    let is_sequence = |of: &Wanted| of.kind == Kind::Sequence;
    let first = wanted.iter().position(is_sequence).unwrap_or(wanted.len());
    let count = wanted.iter().filter(|of| is_sequence(of)).count();
    let mut waiting: Vec<Wanted> = wanted.drain(first..first + count).collect();
    let mut sorted = Vec::new();
    while !waiting.is_empty() {
        let open: Vec<QualifiedName> = waiting.iter().map(|of| of.id.clone()).collect();
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|of| of.uses.iter().all(|used| !open.contains(&used.id)));
        if ready.is_empty() {
            for of in &rest {
                reader.fault(
                    of.at,
                    format!("the sequence `{}` runs itself, perhaps through others", of.id.local()),
                );
            }
            break;
        }
        sorted.extend(ready);
        waiting = rest;
    }
    let tail = wanted.split_off(first);
    wanted.extend(sorted);
    wanted.extend(tail);
}
