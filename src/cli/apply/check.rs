//! A manifest against the hub, before anything is changed: runtimes, references, feeds and their parameters, conditions.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use triggerfish_model::{Conditions, Json, Parameters, QualifiedName, Rule, Timestamp, Version};
use triggerfish_rules_engine::CompiledRule;

use super::reader::nearest;
use super::wanted::{Kind, Use, Wanted, WantedFeed};
use super::yaml::{Fault, Position};
use crate::cli::api::{Api, CallError, Path};
use crate::cli::output::cut;

/// How much of a pattern an error shows, in characters.
const SNIPPET_CHARS_MAX: usize = 40;
/// The parameter that every feed takes (design.md, "What is pinned").
const RECORD: &str = "record";

/// What is on the hub, by kind of collection and name; `None` where nothing is.
pub(super) type Stored = HashMap<(&'static str, QualifiedName), Option<Value>>;

/// Reads what the manifest's entities are on the hub, and collects what is wrong with them.
pub(super) async fn check(api: &Api, wanted: &mut [Wanted]) -> Result<(Stored, Vec<Fault>), CallError> {
    let mut stored = Stored::new();
    let mut faults = Vec::new();
    let runtimes = api.root().await?;
    for of in wanted.iter_mut() {
        faults.extend(resolve_runtime(of, &runtimes).err());
        faults.extend(conditions(of).err());
    }
    for of in wanted.iter() {
        if let Some(found) = find(api, of.kind, &of.id, of.at, &mut faults).await? {
            faults.extend(wrong_kind(of, &found));
            stored.insert((of.kind.collection(), of.id.clone()), Some(found));
        }
        if let Some(feed) = &of.feed {
            faults.extend(check_feed(api, feed).await?);
        }
        for used in &of.uses {
            let known =
                wanted.iter().any(|of| of.kind.collection() == used.kind.collection() && of.id == used.id);
            if !known && find(api, used.kind, &used.id, used.at, &mut faults).await?.is_none() {
                faults.push(missing(used, wanted));
            }
        }
    }
    faults.sort();
    faults.dedup();
    Ok((stored, faults))
}

/// The entity of this name; that another kind has the name is a fault. In other namespaces what is not there and what is
/// not the caller's look the same (403, contract §1.2).
async fn find(
    api: &Api,
    kind: Kind,
    id: &QualifiedName,
    at: Position,
    faults: &mut Vec<Fault>,
) -> Result<Option<Value>, CallError> {
    let parts = parts(kind, id);
    match api.find(Path { namespace: Some(id.namespace.as_str()), parts: &parts, query: &[] }).await {
        Ok(found) => Ok(found),
        Err(CallError::Refused { status, .. }) if status.as_u16() == 403 => Ok(None),
        Err(CallError::Refused { status, text, .. }) if matches!(status.as_u16(), 400 | 409) => {
            faults.push(Fault::new(at, format!("{} `{}`: {text}", kind.as_str(), id.local())));
            Ok(Some(Value::Null))
        }
        Err(error) => Err(error),
    }
}

/// The parts of an entity's path below its namespace.
pub(super) fn parts(kind: Kind, id: &QualifiedName) -> Vec<&str> {
    let package = id.package.as_ref().map(|package| package.as_str());
    std::iter::once(kind.collection()).chain(package).chain([id.name.as_str()]).collect()
}

/// A package cannot become a binding, nor the other way round: the hub shows a binding as its provider.
fn wrong_kind(wanted: &Wanted, found: &Value) -> Option<Fault> {
    let binding = found.get("binding").and_then(Value::as_object).is_some_and(|of| !of.is_empty());
    let annotated = super::compare::pairs_of(found.get("annotations")).contains_key("binding");
    let is_binding =
        binding || annotated || found.get("name").is_some_and(|name| name != wanted.id.name.as_str());
    let (is, wants) = match (wanted.kind, is_binding) {
        (Kind::Package, true) => ("a binding", "a package"),
        (Kind::Binding, false) if !found.is_null() => ("a package", "a binding"),
        _ => return None,
    };
    Some(Fault::new(
        wanted.at,
        format!(
            "`{}` is {is} on the hub and cannot become {wants}: delete it there, or take another name",
            wanted.id.local()
        ),
    ))
}

fn missing(used: &Use, wanted: &[Wanted]) -> Fault {
    let same = wanted.iter().filter(|of| of.kind.collection() == used.kind.collection());
    let names: Vec<String> = same.map(|of| of.id.local()).collect();
    let hint = nearest(&used.id.local(), names.iter().map(String::as_str));
    let kind = used.kind.as_str();
    Fault::new(
        used.at,
        format!("there is no {kind} `{}`, neither in the manifest nor on the hub{hint}", used.id.local()),
    )
}

/// Puts the kind that the hub takes in place of `<family>:default`, and refuses one that it does not have.
fn resolve_runtime(wanted: &mut Wanted, root: &Value) -> Result<(), Fault> {
    let (Some(at), Some(families)) = (wanted.runtime_at, root.get("runtimes").and_then(Value::as_object))
    else {
        return Ok(());
    };
    let Some(kind) = wanted.document.get_mut("exec").and_then(|exec| exec.get_mut("kind")) else {
        return Ok(());
    };
    let text = kind.as_str().unwrap_or_default().to_owned();
    let kinds = |family: &str| families.get(family).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |of: &Value| of.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(family) = text.strip_suffix(":default") {
        let default = kinds(family).into_iter().find(|of| of.get("default") == Some(&json!(true)));
        if let Some(default) = default {
            *kind = json!(name(&default));
            return Ok(());
        }
    }
    let all: Vec<String> = families.keys().flat_map(|family| kinds(family)).map(|of| name(&of)).collect();
    if all.contains(&text) {
        return Ok(());
    }
    let hint = nearest(&text, all.iter().map(String::as_str));
    Err(Fault::new(at, format!("the hub has no runtime `{text}`{hint}")))
}

/// Compiles a rule's conditions as the hub will.
fn conditions(wanted: &Wanted) -> Result<(), Fault> {
    if wanted.kind != Kind::Rule {
        return Ok(());
    }
    let given = |key: &str| wanted.document.get(key).filter(|value| !value.is_null());
    let text = |key: &str| given(key).and_then(Value::as_str).map(str::to_owned);
    let pattern = given("pattern").map(Json::from_value);
    let rule = Rule {
        id: wanted.id.clone(),
        trigger: wanted.id.clone(),
        action: wanted.id.clone(),
        conditions: Conditions {
            pattern: pattern.clone(),
            when: text("when"),
            with: text("with"),
            retry: given("retry").map(Json::from_value),
        },
        annotations: Parameters::new(),
        publish: false,
        version: Version::default(),
        updated: Timestamp::from_millis(0),
    };
    let Err(error) = CompiledRule::compile(&rule) else { return Ok(()) };
    let clause = error.clause.to_string();
    let at = wanted.conditions_at.iter().find(|(key, _)| *key == clause).map_or(wanted.at, |(_, at)| *at);
    // The position in a pattern is one of its JSON, which the manifest does not show.
    let place = match &pattern {
        Some(pattern) if clause == "pattern" => {
            let rest = pattern.as_str().get(error.offset..).unwrap_or_default();
            format!(" at `{}`", cut(rest, SNIPPET_CHARS_MAX))
        }
        _ => format!(" at line {}, column {} of the expression", error.line, error.column),
    };
    Err(Fault::new(at, format!("`{clause}` of the rule `{}`{place}: {}", wanted.id.local(), error.message)))
}

/// Checks that the feed is there and takes these parameters, by the schema that its action carries.
async fn check_feed(api: &Api, feed: &WantedFeed) -> Result<Vec<Fault>, CallError> {
    let mut faults = Vec::new();
    let Some(found) = find(api, Kind::Action, &feed.action, feed.at, &mut faults).await? else {
        let others = feeds_of(api, &feed.action).await?;
        let hint = nearest(&format!("/{}", feed.action), others.iter().map(String::as_str));
        return Ok(vec![Fault::new(feed.at, format!("there is no feed `/{}`{hint}", feed.action))]);
    };
    let annotations = super::compare::pairs_of(found.get("annotations"));
    if !found.is_null() && !annotations.contains_key("feed") {
        faults.push(Fault::new(feed.at, format!("the action `/{}` is no feed", feed.action)));
    }
    let empty = Map::new();
    let schema = annotations.get("parameters");
    let Some(known) =
        schema.and_then(|schema| schema.get("properties")).map(|of| of.as_object().unwrap_or(&empty))
    else {
        return Ok(faults);
    };
    for (key, at) in &feed.params_at {
        if !known.contains_key(key) && key != RECORD {
            let hint = nearest(key, known.keys().map(String::as_str).chain([RECORD]));
            faults
                .push(Fault::new(*at, format!("the feed `/{}` has no parameter `{key}`{hint}", feed.action)));
        }
    }
    let required = schema.and_then(|schema| schema.get("required")).and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        if !feed.params.contains_key(key) {
            faults.push(Fault::new(feed.at, format!("the feed `/{}` needs the input `{key}`", feed.action)));
        }
    }
    Ok(faults)
}

/// The feeds of the packages in a feed's namespace, as far as they may be read.
async fn feeds_of(api: &Api, feed: &QualifiedName) -> Result<Vec<String>, CallError> {
    let namespace = feed.namespace.as_str();
    let query = [("limit", "200".to_owned())];
    let list = Path { namespace: Some(namespace), parts: &["packages"], query: &query };
    let packages = match api.get(list).await {
        Ok(packages) => packages,
        Err(CallError::Refused { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut feeds = Vec::new();
    for package in packages.as_array().into_iter().flatten() {
        let Some(name) = package.get("name").and_then(Value::as_str) else { continue };
        let path = Path { namespace: Some(namespace), parts: &["packages", name], query: &[] };
        let Some(found) = api.find(path).await? else { continue };
        for feed in found.get("feeds").and_then(Value::as_array).into_iter().flatten() {
            if let Some(feed) = feed.get("name").and_then(Value::as_str) {
                feeds.push(format!("/{namespace}/{name}/{feed}"));
            }
        }
    }
    Ok(feeds)
}
