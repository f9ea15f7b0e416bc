//! `triggerfish replay`: dead letters, to look at and to replay.

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::Common;
use super::api::{Api, Path};
use super::output::{Cell, Paint, ago, cut};

/// Dead letters that one page of a list has: the API's own limit.
const PAGE: usize = 200;
/// Characters of a reason in a table.
const REASON_CHARS: usize = 80;

/// Replays what could not be processed: messages that a feed refused, and runs that failed as often as their rule's
/// `retry` lets them. Without an id, lists it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish replay                          what there is\n  \
    triggerfish replay --show 3f2a…             one, with its payload and context\n  \
    triggerfish replay 3f2a… 90bc…              these\n  \
    triggerfish replay --of /_/alert --all      all of one action or trigger\n  \
    triggerfish replay --discard 3f2a…          throws it away")]
pub struct Replay {
    /// Ids of dead letters
    ids: Vec<String>,
    /// Only those of this trigger or action
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// All that there are (of --of)
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Show them whole instead
    #[arg(long, requires = "ids")]
    show: bool,
    /// Throw them away instead
    #[arg(long, conflicts_with = "show")]
    discard: bool,
    #[command(flatten)]
    common: Common,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let api = Api::new(self.common.connection.target()?)?;
        if self.ids.is_empty() && !self.all {
            if self.discard {
                bail!("--discard needs ids, or --all");
            }
            return self.list(&api).await;
        }
        let ids = if self.all { all(&api, self.of.as_deref()).await? } else { self.ids.clone() };
        let mut output = self.common.output();
        let mut failures = 0;
        for id in &ids {
            let part = ["dead-letters", id.as_str()];
            let result = match (self.show, self.discard) {
                (true, _) => api.get(Path::own(&part)).await,
                (_, true) => api.delete(Path::own(&part)).await,
                _ => api.post(Path::own(&["dead-letters", id, "_replay"]), &json!({})).await,
            };
            match result {
                Ok(letter) if self.show => output.document(&letter)?,
                Ok(_) if self.discard => output.line(&format!("discarded {id}"))?,
                Ok(answer) if output.json => output.document(&answer)?,
                Ok(answer) => {
                    let activation = answer.get("activationId").and_then(Value::as_str).unwrap_or("-");
                    output.line(&format!("replayed {id}: activation {activation}"))?;
                }
                Err(error) => {
                    failures += 1;
                    let error = if error.is_not_found() {
                        anyhow::anyhow!("there is no dead letter {id}; `triggerfish replay` lists them")
                    } else {
                        anyhow::Error::from(error).context(format!("the dead letter {id}"))
                    };
                    super::print_error(&error);
                }
            }
        }
        if failures > 0 {
            bail!("{failures} of {} could not be done", ids.len());
        }
        if ids.is_empty() {
            output.line("there are no dead letters")?;
        }
        Ok(())
    }

    async fn list(&self, api: &Api) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let letters = page(api, self.of.as_deref(), 0).await?;
        if output.json {
            output.document(&Value::Array(letters))?;
            return Ok(());
        }
        if letters.is_empty() {
            output.line("there are no dead letters")?;
            return Ok(());
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let rows: Vec<Vec<Cell>> = letters.iter().map(|letter| row(letter, now)).collect();
        output.table(&["ID", "AT", "KIND", "OF", "REPLAYS", "REASON"], &rows)?;
        if letters.len() == PAGE {
            super::note(&format!("only the latest {PAGE} are shown; --of NAME shows fewer"));
        }
        Ok(())
    }
}

fn row(letter: &Value, now: i64) -> Vec<Cell> {
    let text = |key: &str| letter.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let at = letter.get("at").and_then(Value::as_i64).map_or("-".to_owned(), |at| ago(at, now));
    let replays = letter.get("replays").and_then(Value::as_u64).unwrap_or_default();
    vec![
        Cell::new(text("id")),
        Cell::new(at),
        Cell::painted(text("kind"), Paint::yellow),
        Cell::new(text("of")),
        Cell::new(replays.to_string()),
        Cell::new(cut(&text("reason"), REASON_CHARS)),
    ]
}

/// The dead letters from one on, latest first.
async fn page(api: &Api, of: Option<&str>, skip: usize) -> anyhow::Result<Vec<Value>> {
    let mut query = vec![("limit", PAGE.to_string()), ("skip", skip.to_string())];
    query.extend(of.map(|of| ("of", of.to_owned())));
    let path = Path { query: &query, ..Path::own(&["dead-letters"]) };
    Ok(api.get(path).await?.as_array().cloned().unwrap_or_default())
}

/// The ids of all there are now; those that die meanwhile are not among them.
async fn all(api: &Api, of: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let letters = page(api, of, ids.len()).await?;
        if letters.is_empty() {
            return Ok(ids);
        }
        ids.extend(letters.iter().filter_map(|letter| letter.get("id")?.as_str().map(str::to_owned)));
    }
}
