//! `triggerfish apply`: makes the hub what a manifest says.
//!
//! The whole manifest is checked, by itself and against the hub, before anything is changed. Then its entities are
//! written one by one, what is referred to first; one that the hub refuses ends it, and applying again goes on from
//! there. What a manifest no longer names stays on the hub.

mod actions;
mod check;
mod code;
mod compare;
mod feed;
mod manifest;
mod reader;
mod variables;
mod wanted;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path as FilePath, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};
use triggerfish_model::Namespace;

use self::check::Stored;
use self::feed::FeedStep;
use self::variables::Variables;
use self::wanted::{Kind, Wanted};
use self::yaml::Fault;
use super::Common;
use super::api::{Api, CallError, Path};
use super::output::{Output, Paint};
use super::payload::{self, Pair};

/// Creates or updates what a manifest describes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish apply -f manifest.yaml\n  \
    triggerfish apply -f manifest.yaml --dry-run\n  \
    triggerfish apply -f manifest.yaml --var MQTT_URL=mqtt://127.0.0.1:1883\n\n\
    The manifest is the YAML of wskdeploy: packages with inputs, actions, sequences, triggers (feed, inputs) and rules; \
    a rule may have `pattern`, `when`, `with` and `retry`. $NAME and ${NAME} in inputs, paths and names are taken from --var, \
    then from the environment. Applying twice changes nothing the second time.")]
pub struct Apply {
    /// The manifest; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// A variable of the manifest, NAME=VALUE; wins over the environment
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = payload::pair)]
    variables: Vec<Pair>,
    #[command(flatten)]
    common: Common,
}

/// What becomes of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Created,
    Updated,
    Unchanged,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One entity with what is to be done.
struct Step<'w> {
    wanted: &'w Wanted,
    stored: Option<&'w Value>,
    change: Change,
    /// Whether its document is written.
    writes: bool,
    /// Whether a rule's status is set.
    sets_status: bool,
    feed: FeedStep,
}

impl Apply {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let (text, name) = payload::read(&self.file)?;
        let tree = yaml::parse(&text).map_err(|fault| faulty(&name, &[fault]))?;
        // By itself first: what is wrong with it shows without a hub.
        let unknown: Namespace = "_".parse().context("the caller's namespace")?;
        self.read(&tree, &unknown).map_err(|faults| faulty(&name, &faults))?;

        let api = Api::new(self.common.connection.target()?)?;
        let own = own_namespace(&api).await?;
        let mut wanted = self.read(&tree, &own).map_err(|faults| faulty(&name, &faults))?;
        for of in &mut wanted {
            feed::annotate(of, &api.key());
        }
        let (stored, faults) = check::check(&api, &mut wanted).await?;
        if !faults.is_empty() {
            return Err(faulty(&name, &faults));
        }
        let steps = plan(&api, &wanted, &stored).await?;
        for (n, step) in steps.iter().enumerate() {
            if !self.dry_run {
                perform(&api, step).await.map_err(|error| stopped(error, step, &name, n, steps.len()))?;
            }
            if !output.json {
                show(step, &mut output)?;
            }
        }
        self.sum_up(&steps, &mut output)
    }

    fn read(&self, tree: &yaml::Node, own: &Namespace) -> Result<Vec<Wanted>, Vec<Fault>> {
        let directory = self.file.parent().unwrap_or(FilePath::new(""));
        let env = |name: &str| std::env::var(name).ok();
        manifest::read(tree, directory, own, Variables { given: &self.variables, env: &env })
    }

    fn sum_up(&self, steps: &[Step<'_>], output: &mut Output) -> anyhow::Result<()> {
        let count = |change| steps.iter().filter(|step| step.change == change).count();
        let all = [Change::Created, Change::Updated, Change::Unchanged];
        if output.json {
            let entities: Vec<Value> = steps
                .iter()
                .map(|step| {
                    json!({
                        "kind": step.wanted.kind.as_str(),
                        "name": format!("/{}", step.wanted.id),
                        "change": step.change.as_str(),
                    })
                })
                .collect();
            output.document(&json!({ "dryRun": self.dry_run, "entities": entities }))?;
            return Ok(());
        }
        let counts = all.map(|change| format!("{} {}", count(change), change.as_str())).join(", ");
        let remark = if self.dry_run { " (dry run: nothing was changed)" } else { "" };
        output.line(&format!("{counts}{remark}"))?;
        Ok(())
    }
}

/// The namespace of the key, which also tells whether hub and key are right.
async fn own_namespace(api: &Api) -> anyhow::Result<Namespace> {
    let names = api.namespaces().await?;
    let name = names.get(0).and_then(Value::as_str).context("the hub names no namespace for this key")?;
    name.parse().context("the hub's namespace")
}

/// All faults of a manifest as one error.
fn faulty(name: &str, faults: &[Fault]) -> anyhow::Error {
    let lines: Vec<String> =
        faults.iter().map(|Fault { at, what }| format!("{name}:{}:{}: {what}", at.line, at.column)).collect();
    anyhow::anyhow!("the manifest cannot be applied; nothing was changed\n  {}", lines.join("\n  "))
}

fn stopped(error: CallError, step: &Step<'_>, name: &str, done: usize, all: usize) -> anyhow::Error {
    let Wanted { kind, id, at, .. } = step.wanted;
    anyhow::anyhow!(
        "{name}:{}:{}: the {} `{}`: {error}\n  {done} of {all} entities were applied before it; mend it and apply again",
        at.line,
        at.column,
        kind.as_str(),
        id.local()
    )
}

async fn plan<'w>(api: &Api, wanted: &'w [Wanted], stored: &'w Stored) -> Result<Vec<Step<'w>>, CallError> {
    let mut steps = Vec::new();
    for of in wanted {
        let found = stored.get(&(of.kind.collection(), of.id.clone())).and_then(Option::as_ref);
        let inherited = of.id.package.as_ref().and_then(|package| {
            let id = of.id.namespace.with(package.clone());
            stored.get(&("packages", id)).and_then(Option::as_ref)?.get("parameters")
        });
        let writes = found.is_none_or(|found| !compare::same(of, found, inherited));
        let feed = match of.kind {
            Kind::Trigger => feed::step(api, of, found).await?,
            _ => FeedStep::Nothing,
        };
        let status =
            found.map_or("active", |found| found.get("status").and_then(Value::as_str).unwrap_or("active"));
        let sets_status = of.kind == Kind::Rule && (status == "active") != of.active;
        let change = match found {
            None => Change::Created,
            Some(_) if writes || sets_status || feed != FeedStep::Nothing => Change::Updated,
            Some(_) => Change::Unchanged,
        };
        steps.push(Step { wanted: of, stored: found, change, writes, sets_status, feed });
    }
    Ok(steps)
}

async fn perform(api: &Api, step: &Step<'_>) -> Result<(), CallError> {
    let is_new = step.stored.is_none();
    // A new trigger must be there before its feed; one that is there is annotated after it, so that a feed that fails
    // is tried again by the next apply.
    if is_new {
        write(api, step).await?;
    }
    if let Err(error) = perform_feed(api, step).await {
        if is_new {
            // As `wsk` does it. The feed's error matters more than one of this.
            let _ = api.delete(path_of(step.wanted, &check::parts(step.wanted.kind, &step.wanted.id))).await;
        }
        return Err(error);
    }
    if step.writes && !is_new {
        write(api, step).await?;
    }
    if step.sets_status {
        let status = if step.wanted.active { "active" } else { "inactive" };
        let parts = check::parts(step.wanted.kind, &step.wanted.id);
        api.post(path_of(step.wanted, &parts), &json!({ "status": status })).await?;
    }
    Ok(())
}

fn path_of<'a>(wanted: &'a Wanted, parts: &'a [&'a str]) -> Path<'a> {
    Path { namespace: Some(wanted.id.namespace.as_str()), parts, query: &[] }
}

async fn write(api: &Api, step: &Step<'_>) -> Result<(), CallError> {
    let overwrite = [("overwrite", "true".to_owned())];
    let parts = check::parts(step.wanted.kind, &step.wanted.id);
    let path = Path { query: &overwrite, ..path_of(step.wanted, &parts) };
    api.put(path, &compare::body(step.wanted, step.stored)).await.map(drop)
}

async fn perform_feed(api: &Api, step: &Step<'_>) -> Result<(), CallError> {
    let trigger = &step.wanted.id;
    let event = match &step.feed {
        FeedStep::Nothing => return Ok(()),
        FeedStep::Create => "CREATE",
        FeedStep::Update => "UPDATE",
        FeedStep::Replace(old) => {
            // It may be gone already; then the new one is what matters.
            match feed::call(api, old, trigger, "DELETE", &Map::new()).await {
                Ok(_) | Err(CallError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
            "CREATE"
        }
    };
    match &step.wanted.feed {
        Some(feed) => feed::call(api, &feed.action, trigger, event, &feed.params).await.map(drop),
        None => Ok(()),
    }
}

fn show(step: &Step<'_>, output: &mut Output) -> std::io::Result<()> {
    let paint: fn(Paint, &str) -> String = match step.change {
        Change::Created => Paint::green,
        Change::Updated => Paint::yellow,
        Change::Unchanged => Paint::dim,
    };
    let change = paint(output.paint, &format!("{:<9}", step.change.as_str()));
    let feed = step.wanted.feed.as_ref().map_or(String::new(), |feed| format!("  fed by /{}", feed.action));
    let status = if step.wanted.active { "" } else { "  (inactive)" };
    let (kind, name) = (step.wanted.kind.as_str(), step.wanted.id.local());
    output.line(&format!("{change}  {kind:<8}  {name}{feed}{status}"))
}
