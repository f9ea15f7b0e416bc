//! `triggerfish tail`: new activation records as they are written.
//!
//! A connection that breaks is opened again. Records written meanwhile are not shown: the search has them, and a note
//! says so.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::api::{Api, CallError, Path};
use super::output::Output;
use super::{Common, note, record};

/// The longest event of the stream, in bytes: a record with 10 MB of logs and 1 MB of result, written as JSON.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// The wait before a connection is opened again: doubled from the first to the last.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A stream without a byte for this long is dead: the hub sends a comment every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Prints activation records as they are written.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    triggerfish tail\n  \
    triggerfish tail --q 'name:alert AND status:success'\n  \
    triggerfish tail --q 'timeout' --limit 1 --json\n\n\
    QUERY is the query language of `triggerfish search`. With --json each record is one line.")]
pub struct Tail {
    /// Only records that match this query
    #[arg(long, value_name = "QUERY")]
    q: Option<String>,
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// How a stream went on.
enum Ended {
    /// As many records as were asked for.
    Done,
    /// It broke.
    Broken,
}

impl Tail {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut output = self.common.output();
        let api = Api::new(self.common.connection.target()?)?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        let query: Vec<(&str, String)> = self.q.iter().map(|q| ("q", q.clone())).collect();
        let path = Path { namespace: None, parts: &["activations", "_tail"], query: &query };
        let mut stream = api.open(path).await?;
        // From its answer on the hub keeps every record for this reader.
        note("waiting for new records");
        loop {
            match follow(&mut stream, &mut output, &mut left).await? {
                Ended::Done => return Ok(()),
                Ended::Broken => stream = reopen(&api, path).await?,
            }
        }
    }
}

/// Opens the stream again, however long the hub is away. A refusal ends it: it would come again.
async fn reopen(api: &Api, path: Path<'_>) -> anyhow::Result<reqwest::Response> {
    note("the connection to the hub broke; opening it again");
    let mut wait = WAIT_FIRST;
    loop {
        match api.open(path).await {
            Ok(stream) => {
                note(
                    "connected again; records written meanwhile are not shown, `triggerfish search --since 5m` finds them",
                );
                return Ok(stream);
            }
            Err(CallError::Unreachable { .. }) => {
                tokio::time::sleep(wait).await;
                wait = WAIT_MAX.min(wait * 2);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn follow(
    stream: &mut reqwest::Response,
    output: &mut Output,
    left: &mut u64,
) -> anyhow::Result<Ended> {
    let mut events = Events::default();
    loop {
        let chunk = match tokio::time::timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None) | Err(_)) | Err(_) => return Ok(Ended::Broken),
        };
        events.buffer.extend_from_slice(&chunk);
        while let Some(event) = events.next() {
            if show(&event, output)? {
                *left -= 1;
            }
            if *left == 0 {
                return Ok(Ended::Done);
            }
        }
        if events.buffer.len() > EVENT_BYTES_MAX {
            bail!("an event of the stream is larger than {EVENT_BYTES_MAX} bytes: this is no hub");
        }
    }
}

/// Prints an event; answers whether it was a record.
fn show(event: &Event, output: &mut Output) -> anyhow::Result<bool> {
    match event.name.as_str() {
        "activation" => {
            let record: Value = serde_json::from_str(&event.data)?;
            if output.json {
                output.line(&record.to_string())?;
                return Ok(true);
            }
            output.line(&record::line(&record, output.paint, false))?;
            for line in record::logs(&record, output.paint) {
                output.line(&line)?;
            }
            Ok(true)
        }
        "lost" => {
            let lost: Value = serde_json::from_str(&event.data)?;
            let records = lost.get("records").and_then(Value::as_u64).unwrap_or(0);
            note(&format!("{records} records came faster than they were read and are not shown"));
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Server-sent events out of the bytes that have come so far (WHATWG HTML, §9.2).
#[derive(Default)]
struct Events {
    buffer: Vec<u8>,
    /// How far the buffer is known to hold no end of an event.
    searched: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

impl Events {
    /// The next whole event, taken out of the buffer.
    fn next(&mut self) -> Option<Event> {
        let from = self.searched.saturating_sub(1);
        let found = self.buffer.get(from..)?.windows(2).position(|pair| pair == b"\n\n");
        let Some(end) = found.map(|at| from + at) else {
            self.searched = self.buffer.len();
            return None;
        };
        let bytes: Vec<u8> = self.buffer.drain(..end + 2).collect();
        self.searched = 0;
        let mut event = Event::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            match line.split_once(':') {
                Some(("event", name)) => event.name = name.trim_start().to_owned(),
                Some(("data", data)) => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data += data.strip_prefix(' ').unwrap_or(data);
                }
                _ => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_the_bytes_are_cut() {
        let text =
            ": listening\n\nid: 1\nevent: activation\ndata: {\"a\":\ndata: 1}\n\nevent: lost\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut events = Events::default();
            let mut read = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                events.buffer.extend_from_slice(chunk);
                read.extend(std::iter::from_fn(|| events.next()));
            }
            let of = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
            assert_eq!(read, [of("", ""), of("activation", "{\"a\":\n1}"), of("lost", "{}")], "{size}");
        }
    }
}
