//! `triggerfish feeds preview`: when a cron expression fires. Worked out here, without a hub.

use anyhow::{Context, anyhow};
use clap::Args;
use triggerfish_feeds::preview;

use super::output::Output;

/// Prints the next fires of a cron expression as JSON lines.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  triggerfish feeds preview --cron '30 2 * * *' --timezone America/New_York \\\n      \
    --from 2026-03-07T12:00:00Z --count 3\n\n\
    Each line is {\"at\": in UTC, \"local\": …, \"mark\": \"gap\"|\"fold\"|null}. A fixed hour that a zone skips fires once at the \
    gap's end (gap); one that comes twice, once (fold). Hours that are a wildcard or a step follow elapsed time."
)]
pub(super) struct Preview {
    /// The cron expression: 5 fields, or 6 with seconds first
    #[arg(long, value_name = "EXPR")]
    cron: String,
    /// The time zone, an IANA name
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Fires after this moment, in RFC 3339 [default: now]
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// How many fires
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
}

impl Preview {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let from = match &self.from {
            Some(text) => text.parse().with_context(|| {
                format!("--from `{text}` is no moment; expected something like 2026-03-07T12:00:00Z")
            })?,
            None => jiff::Timestamp::now(),
        };
        let mut output = Output::stdout(true);
        for fire in preview(&self.cron, &self.timezone, from, self.count).map_err(|error| anyhow!(error))? {
            output.line(&serde_json::to_string(&fire)?)?;
        }
        Ok(())
    }
}
