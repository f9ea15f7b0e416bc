//! `triggerfish fire`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Common;
use super::api::{Api, Path};
use super::payload::{self, Pair};

/// Fires a trigger.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish fire reading --param room=7 --param celsius=35.5\n  \
    triggerfish fire reading --payload event.json\n  \
    echo '{\"celsius\": 35.5}' | triggerfish fire reading --payload - --json")]
pub struct Fire {
    /// The trigger's name
    trigger: String,
    /// One field of the payload, KEY=VALUE; the value is JSON where it can be, else text
    #[arg(short, long = "param", value_name = "KEY=VALUE", value_parser = payload::pair)]
    params: Vec<Pair>,
    /// A file with the payload, a JSON object; - is standard input
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Fire {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let payload = payload::object(self.payload.as_deref(), &self.params)?;
        let api = Api::new(self.common.connection.target()?)?;
        let (namespace, name) = split(&self.trigger);
        let path = Path { namespace, parts: &["triggers", name], query: &[] };
        let answer = api.post(path, &Value::Object(payload)).await.map_err(|error| {
            if error.is_not_found() {
                return anyhow::anyhow!(
                    "there is no trigger `{}`\n  `triggerfish apply -f manifest.yaml` makes those of a manifest",
                    self.trigger
                );
            }
            error.into()
        })?;
        let id = answer.get("activationId").and_then(Value::as_str);
        if output.json {
            output.document(&json!({ "activationId": id }))?;
            return Ok(());
        }
        match id {
            Some(id) => output.line(&format!("fired {name}: activation {id}"))?,
            None => output.line(&format!("fired {name}: no active rule listens, so nothing was recorded"))?,
        }
        Ok(())
    }
}

/// `/namespace/name` or `name`.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    match text.strip_prefix('/').and_then(|text| text.split_once('/')) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    }
}
