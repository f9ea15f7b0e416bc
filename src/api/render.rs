//! The API's documents, field by field in the contract's order (§1.3 to §1.8, §2.2).

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::json;
use triggerfish_model::{
    Action, Activation, Code, Entity, Exec, Json, Limits, Package, PackageRef, Parameter, Parameters,
    QualifiedName, Rule, RuleLink, Trigger,
};

/// Parameters as an array.
pub(super) struct Array<'a>(pub(super) &'a Parameters);

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for parameter in self.0.iter() {
            array.serialize_element(&Element(parameter))?;
        }
        array.end()
    }
}

struct Element<'a>(&'a Parameter);

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.0.key)?;
        map.serialize_entry("value", &self.0.value)?;
        if self.0.init {
            map.serialize_entry("init", &true)?;
        }
        if let Some(algorithm) = &self.0.encryption {
            map.serialize_entry("encryption", algorithm)?;
        }
        map.end()
    }
}

/// The value that a document is built of: text that was checked when it was stored is taken over unread.
fn value(of: &impl Serialize) -> Json {
    Json::of(of).expect("the API's documents have text keys and JSON values")
}

/// A document under construction; absent fields are left out.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Document(indexmap::IndexMap<&'static str, Json>);

impl Document {
    fn new() -> Self {
        Self(indexmap::IndexMap::new())
    }

    fn with(mut self, key: &'static str, of: &impl Serialize) -> Self {
        self.0.insert(key, value(of));
        self
    }

    fn with_some(self, key: &'static str, of: Option<&impl Serialize>) -> Self {
        match of {
            Some(of) => self.with(key, of),
            None => self,
        }
    }
}

fn limits(limits: &Limits) -> Document {
    Document::new()
        .with("concurrency", &limits.concurrency)
        .with_some("instances", limits.instances.as_ref())
        .with("logs", &limits.logs_mb)
        .with("memory", &limits.memory_mb)
        .with("timeout", &limits.timeout_ms)
}

fn exec(exec: &Exec, with_code: bool) -> Document {
    let text = |code: &Code| code.text.to_string();
    match exec {
        Exec::Code { kind, code, main } => Document::new()
            .with("kind", kind)
            .with_some("code", with_code.then(|| text(code)).as_ref())
            .with("binary", &code.binary)
            .with_some("main", main.as_ref()),
        Exec::Blackbox { image, code, main } => Document::new()
            .with("kind", &"blackbox")
            .with("image", image)
            .with("binary", &code.as_ref().is_some_and(|code| code.binary))
            .with_some("code", code.as_ref().filter(|_| with_code).map(text).as_ref())
            .with_some("main", main.as_ref()),
        Exec::Sequence { components } => {
            let components: Vec<String> =
                components.iter().map(|component| format!("/{component}")).collect();
            Document::new().with("components", &components).with("kind", &"sequence")
        }
    }
}

fn is_binary(exec: &Exec) -> bool {
    match exec {
        Exec::Code { code, .. } | Exec::Blackbox { code: Some(code), .. } => code.binary,
        Exec::Blackbox { code: None, .. } | Exec::Sequence { .. } => false,
    }
}

/// How an action is shown.
pub(super) struct ActionView<'a> {
    pub(super) action: &'a Action,
    /// Its parameters, with those that it inherits where they are asked for.
    pub(super) parameters: &'a Parameters,
    pub(super) with_code: bool,
    /// The binding it was read through; shown without code only, as the reference does.
    pub(super) binding: Option<&'a QualifiedName>,
}

/// An action as GET and PUT answer it.
pub(super) fn action(view: &ActionView<'_>) -> Document {
    let ActionView { action, parameters, with_code, binding } = view;
    Document::new()
        .with("annotations", &Array(&action.annotations))
        .with_some("binding", binding.filter(|_| !with_code).map(ToString::to_string).as_ref())
        .with("exec", &exec(&action.exec, *with_code))
        .with("limits", &limits(&action.limits))
        .with("name", &action.id.name)
        .with("namespace", &action.id.path())
        .with("parameters", &Array(parameters))
        .with("publish", &action.publish)
        .with("updated", &action.updated)
        .with("version", &action.version)
}

fn reference(id: &QualifiedName) -> serde_json::Value {
    json!({ "name": id.name, "path": id.path() })
}

fn binding_of(binding: &PackageRef) -> serde_json::Value {
    json!({ "name": binding.name, "namespace": binding.namespace })
}

fn link(link: &RuleLink) -> serde_json::Value {
    json!({ "action": reference(&link.action), "status": status(link.active) })
}

fn status(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}

/// A trigger as GET and PUT answer it. A trigger that never had a rule has no `rules`.
pub(super) fn trigger(trigger: &Trigger) -> Document {
    let rules: serde_json::Map<_, _> =
        trigger.rules.iter().map(|(id, of)| (id.to_string(), link(of))).collect();
    Document::new()
        .with("annotations", &Array(&trigger.annotations))
        .with("limits", &json!({}))
        .with("name", &trigger.id.name)
        .with("namespace", &trigger.id.path())
        .with("parameters", &Array(&trigger.parameters))
        .with("publish", &trigger.publish)
        .with_some("rules", (!rules.is_empty()).then_some(&rules))
        .with("updated", &trigger.updated)
        .with("version", &trigger.version)
}

/// A rule; lists leave its status out.
pub(super) fn rule(rule: &Rule, active: Option<bool>) -> Document {
    Document::new()
        .with("action", &reference(&rule.action))
        .with("annotations", &Array(&rule.annotations))
        .with("name", &rule.id.name)
        .with("namespace", &rule.id.path())
        .with_some("pattern", rule.conditions.pattern.as_ref())
        .with("publish", &rule.publish)
        .with_some("retry", rule.conditions.retry.as_ref())
        .with_some("status", active.map(status).as_ref())
        .with("trigger", &reference(&rule.trigger))
        .with("updated", &rule.updated)
        .with("version", &rule.version)
        .with_some("when", rule.conditions.when.as_ref())
        .with_some("with", rule.conditions.with.as_ref())
}

/// A package as PUT and DELETE answer it.
pub(super) fn package(package: &Package) -> Document {
    package_with(package, &package.parameters, None)
}

/// A package as GET answers it: parameters merged with a provider's, and what is in it.
pub(super) fn package_with(
    package: &Package,
    parameters: &Parameters,
    contents: Option<&[Action]>,
) -> Document {
    let member = |action: &Action| {
        Document::new()
            .with("annotations", &Array(&action.annotations))
            .with("name", &action.id.name)
            .with("version", &action.version)
    };
    let split = |feeds: bool| {
        contents.map(|actions| {
            let of = actions.iter().filter(|action| action.annotations.value("feed").is_some() == feeds);
            of.map(member).collect::<Vec<_>>()
        })
    };
    Document::new()
        .with_some("actions", split(false).as_ref())
        .with("annotations", &Array(&package.annotations))
        .with("binding", &package.binding.as_ref().map_or_else(|| json!({}), binding_of))
        .with_some("feeds", split(true).as_ref())
        .with("name", &package.id.name)
        .with("namespace", &package.id.path())
        .with("parameters", &Array(parameters))
        .with("publish", &package.publish)
        .with("updated", &package.updated)
        .with("version", &package.version)
}

/// An entity as lists show it.
pub(super) fn summary(entity: &Entity) -> Document {
    let id = entity.id();
    let head = Document::new().with("name", &id.name);
    let (head, annotations, publish, version) = match entity {
        Entity::Rule(of) => return rule(of, None),
        Entity::Package(of) => {
            let binding = of.binding.as_ref().map_or_else(|| json!(false), binding_of);
            (
                head.with("binding", &binding).with("updated", &of.updated),
                &of.annotations,
                of.publish,
                of.version,
            )
        }
        Entity::Action(of) => {
            let exec = json!({ "binary": is_binary(&of.exec) });
            let head =
                head.with("updated", &of.updated).with("exec", &exec).with("limits", &limits(&of.limits));
            (head, &of.annotations, of.publish, of.version)
        }
        Entity::Trigger(of) => (head.with("updated", &of.updated), &of.annotations, of.publish, of.version),
    };
    head.with("namespace", &id.path())
        .with("publish", &publish)
        .with("annotations", &Array(annotations))
        .with("version", &version)
}

/// The `response` of a record as it is served.
pub(super) fn response(record: &Activation) -> Document {
    let response = &record.response;
    Document::new()
        .with("result", &response.result)
        .with_some("size", response.size.as_ref())
        .with("status", &response.status.as_str())
        .with("success", &(response.status.as_u8() == 0))
}

/// A whole record; a blocking caller gets it with no logs, but for a sequence's, which name its steps (contract §1.4.3).
pub(super) fn activation(record: &Activation, with_logs: bool) -> Document {
    let none: &[String] = &[];
    Document::new()
        .with("activationId", &record.id)
        .with("annotations", &Array(&record.annotations))
        .with_some("cause", record.cause.as_ref())
        .with_some("duration", record.duration_ms.as_ref())
        .with_some("end", record.end.as_ref())
        .with(
            "logs",
            &if with_logs || record.kind().as_deref() == Some("sequence") {
                record.logs.as_slice()
            } else {
                none
            },
        )
        .with("name", &record.name)
        .with("namespace", &record.namespace)
        .with("publish", &false)
        .with("response", &response(record))
        .with("start", &record.start)
        .with("subject", &record.subject)
        .with("version", &record.version)
}

/// A record as lists show it.
pub(super) fn activation_summary(record: &Activation) -> Document {
    Document::new()
        .with("statusCode", &record.response.status.as_u8())
        .with_some("duration", record.duration_ms.as_ref())
        .with("name", &record.name)
        .with("activationId", &record.id)
        .with_some("cause", record.cause.as_ref())
        .with_some("end", record.end.as_ref())
        .with("start", &record.start)
        .with("namespace", &record.namespace)
        .with("publish", &false)
        .with("annotations", &Array(&record.annotations))
        .with("version", &record.version)
}
