//! `triggerfish feeds`: what the feeds are doing, and when a clock's would fire.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Common;
use super::api::{Api, Path};
use super::output::{Cell, Paint, ago};
use super::preview::Preview;

/// Lists the feeds with their state.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  triggerfish feeds\n  triggerfish feeds --json\n\n\
    Counters begin anew when the hub starts. LAG is what waits at the remote side, where that says so."
)]
pub struct Feeds {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print when a cron expression fires; needs no hub
    Preview(Preview),
}

impl Feeds {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if let Some(Command::Preview(preview)) = self.command {
            return preview.run();
        }
        let mut output = self.common.output();
        let api = Api::new(self.common.connection.target()?)?;
        let feeds = api.get(Path::own(&["feeds"])).await?;
        if output.json {
            output.document(&feeds)?;
            return Ok(());
        }
        let feeds = feeds.as_array().cloned().unwrap_or_default();
        if feeds.is_empty() {
            output.line("there are no feeds: a trigger of a manifest with `feed` makes one")?;
            return Ok(());
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let head = [
            "TRIGGER",
            "FEED",
            "STATE",
            "EVENTS",
            "DUPLICATES",
            "REFUSED",
            "LAG",
            "LAST EVENT",
            "LAST ERROR",
        ];
        let rows: Vec<Vec<Cell>> = feeds.iter().map(|feed| row(feed, now)).collect();
        output.table(&head, &rows)?;
        Ok(())
    }
}

fn row(feed: &Value, now: i64) -> Vec<Cell> {
    let text = |key: &str| feed.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let of = |key: &str| feed.get("status").and_then(|status| status.get(key));
    let count =
        |key: &str| Cell::new(of(key).and_then(Value::as_u64).map_or("-".to_owned(), |n| n.to_string()));
    let state = of("state").and_then(Value::as_str).unwrap_or("starting").to_owned();
    let paint: fn(Paint, &str) -> String = match state.as_str() {
        "running" => Paint::green,
        "failed" => Paint::red,
        _ => Paint::yellow,
    };
    let last_event = of("lastEvent").and_then(Value::as_i64).map_or("-".to_owned(), |at| ago(at, now));
    // `ended` is why the hub stopped it for good.
    let why = match (feed.get("ended").and_then(Value::as_str), of("lastError")) {
        (Some(why), _) => why.to_owned(),
        (None, Some(Value::Array(error))) => {
            let at = error.first().and_then(Value::as_i64).map_or(String::new(), |at| ago(at, now));
            format!("{at}: {}", error.get(1).and_then(Value::as_str).unwrap_or_default())
        }
        (None, _) => "-".to_owned(),
    };
    vec![
        Cell::new(text("trigger")),
        Cell::new(text("feed")),
        Cell::painted(state, paint),
        count("events"),
        count("duplicates"),
        count("refused"),
        count("lag"),
        Cell::new(last_event),
        Cell::new(why),
    ]
}
