//! Configuration: `triggerfish.toml`, then `TRIGGERFISH_*` variables, then flags; later ones win.
//!
//! The value [`Config::default`] is the list of all keys: a key that it does not have is refused, with the nearest one
//! that it has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use url::Url;

/// What variables of the configuration begin with; `__` stands for a dot.
const ENV_PREFIX: &str = "TRIGGERFISH_";
/// Variables of this prefix that are read by the command line client, not by the hub.
const ENV_OF_CLIENT: [&str; 2] = ["TRIGGERFISH_HOST", "TRIGGERFISH_AUTH"];

/// All settings of a hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `address:port` of the API.
    pub listen: String,
    /// Where all that survives a restart lies.
    pub data_dir: PathBuf,
    /// Where the hub is reached from outside, `https://hub.example/`; webhooks are made with it. Empty where that is not
    /// known: then feeds answer with `listen`, and one that would have a remote side call is refused.
    pub public_url: String,
    /// How long a shutdown waits for running work, in seconds.
    pub shutdown_seconds: u64,
    /// Further namespaces with keys, for development only (`--dev`).
    pub namespaces: Vec<NamespaceKey>,
    /// Events and their log.
    pub events: Events,
    /// Feeds.
    pub feeds: Feeds,
    /// Activation records.
    pub records: Records,
    /// What could not be processed.
    pub dead_letters: DeadLetters,
    /// Containers.
    pub containers: Containers,
    /// Logging.
    pub log: Log,
}

/// A namespace with its key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceKey {
    /// The namespace's name; its subject is the same, padded to the least length of one.
    pub name: String,
    /// `uuid:key`, the key of 64 characters.
    pub key: String,
}

impl std::fmt::Debug for NamespaceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamespaceKey({})", self.name)
    }
}

/// `[events]`: what is accepted, and how long it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The largest event of a feed, in bytes.
    pub bytes_max: usize,
    /// How long events are kept for replay, in hours.
    pub keep_hours: u64,
    /// How many bytes of events are kept for replay.
    pub keep_bytes: u64,
    /// How long the keys of events are kept, by which redelivered ones are recognised, in hours.
    pub keys_keep_hours: u64,
    /// How many keys a feed keeps.
    pub keys_max: u64,
    /// How many invocations of a namespace may be pending.
    pub namespace_pending_max: u64,
    /// How many bytes of invocations of a namespace may be pending.
    pub namespace_pending_bytes_max: u64,
    /// How many invocations of a feed may be pending.
    pub feed_pending_max: u64,
    /// How many bytes of invocations of a feed may be pending.
    pub feed_pending_bytes_max: u64,
    /// Free disk below which new work is refused, in MB.
    pub disk_reserve_mb: u64,
}

/// `[feeds]`: what feeds may reach.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feeds {
    /// Networks beside the public internet that feeds may fetch from (`10.1.0.0/16`); brokers and databases are no matter of
    /// this list.
    pub private_allowed: Vec<String>,
}

/// `[records]`: how long activation records are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Records {
    /// How long, in hours.
    pub keep_hours: u64,
    /// How many bytes.
    pub keep_bytes: u64,
}

/// `[dead_letters]`: how long what could not be processed is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetters {
    /// How long, in hours.
    pub keep_hours: u64,
    /// How many bytes.
    pub keep_bytes: u64,
}

/// `[containers]`: what runs actions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Containers {
    /// Memory of all containers together, in MB.
    pub memory_mb: u32,
    /// An idle container is paused after this many seconds.
    pub pause_after_seconds: u64,
    /// An idle container is removed after this many seconds.
    pub remove_after_seconds: u64,
    /// Which containers are kept ready for a first run.
    pub prewarm: Vec<Prewarm>,
    /// What a container reaches; only `none` so far.
    pub network: String,
}

/// One kind of container kept ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prewarm {
    /// The runtime's kind.
    pub kind: String,
    /// Memory in MB.
    pub memory_mb: u32,
    /// How many.
    pub count: usize,
}

/// `[log]`: the hub's own log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A filter of tracing's form: `info`, `triggerfish=debug,warn`.
    pub filter: String,
    /// `text`, `json`, or `auto`: text on a terminal and JSON elsewhere.
    pub format: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3233".into(),
            data_dir: "triggerfish-data".into(),
            public_url: String::new(),
            shutdown_seconds: 20,
            namespaces: Vec::new(),
            events: Events::default(),
            feeds: Feeds::default(),
            records: Records::default(),
            dead_letters: DeadLetters::default(),
            containers: Containers::default(),
            log: Log::default(),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            bytes_max: 25_000_000,
            keep_hours: 24,
            keep_bytes: 1 << 30,
            keys_keep_hours: 7 * 24,
            keys_max: 1_000_000,
            namespace_pending_max: 1_000_000,
            namespace_pending_bytes_max: 1 << 30,
            feed_pending_max: 500_000,
            feed_pending_bytes_max: 1 << 29,
            disk_reserve_mb: 512,
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self { keep_hours: 7 * 24, keep_bytes: 16 << 30 }
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { keep_hours: 30 * 24, keep_bytes: 1 << 30 }
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self {
            memory_mb: 2048,
            pause_after_seconds: 10,
            remove_after_seconds: 600,
            prewarm: vec![
                Prewarm { kind: "nodejs:20".into(), memory_mb: 256, count: 1 },
                Prewarm { kind: "python:3".into(), memory_mb: 256, count: 1 },
            ],
            network: "none".into(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info,fjall=warn,lsm_tree=warn".into(), format: "auto".into() }
    }
}

impl Config {
    /// Reads the configuration: `file` (or `triggerfish.toml` here, if there is one), then `env`.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let mut table = match file {
            Some(path) => read(path)?,
            None if Path::new("triggerfish.toml").exists() => read(Path::new("triggerfish.toml"))?,
            None => Table::new(),
        };
        let known = Table::try_from(Self::default()).expect("the default configuration is a TOML table");
        for (name, value) in env {
            if let Some(path) = name.strip_prefix(ENV_PREFIX)
                && !ENV_OF_CLIENT.contains(&name.as_str())
            {
                let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
                set(&mut table, &known, &path, &value).with_context(|| format!("the variable {name}"))?;
            }
        }
        refuse_unknown(&table, &known, "")?;
        let config: Self = Value::Table(table).try_into().context("the configuration")?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    fn check(&self) -> anyhow::Result<()> {
        if self.containers.network != "none" {
            bail!("containers.network is `{}`, but only `none` is there so far", self.containers.network);
        }
        if !["auto", "text", "json"].contains(&self.log.format.as_str()) {
            bail!("log.format is `{}`; expected `auto`, `text` or `json`", self.log.format);
        }
        let is_base = |url: Url| {
            ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        if !self.public_url.is_empty() && !Url::parse(&self.public_url).is_ok_and(is_base) {
            bail!("public_url is `{}`; expected something like https://hub.example", self.public_url);
        }
        if self.containers.memory_mb < 128 {
            bail!(
                "containers.memory_mb is {}, less than the 128 of the smallest container",
                self.containers.memory_mb
            );
        }
        triggerfish_feeds::PrivateAllowed::parse(&self.feeds.private_allowed)
            .map_err(|error| anyhow::anyhow!("feeds.private_allowed: {error}"))?;
        if self.events.bytes_max > 100_000_000 {
            bail!(
                "events.bytes_max is {}, more than the 100000000 that fit in memory safely",
                self.events.bytes_max
            );
        }
        Ok(())
    }

    /// How long a shutdown waits for running work.
    pub fn shutdown_deadline(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds)
    }
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {}", path.display()))?;
    text.parse().with_context(|| format!("the configuration file {}", path.display()))
}

/// Puts the text of a variable at `path`, as the type that the known value there has.
fn set(table: &mut Table, known: &Table, path: &[String], text: &str) -> anyhow::Result<()> {
    let Some((key, rest)) = path.split_first() else { bail!("names no key") };
    let like = known.get(key).with_context(|| unknown(key, known))?;
    if let Value::Table(known) = like {
        if rest.is_empty() {
            bail!("`{key}` is a section: name a key of it after `__`");
        }
        let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = inner else { bail!("`{key}` in the file is no section") };
        return set(inner, known, rest, text);
    }
    if !rest.is_empty() {
        bail!("`{key}` is a value, not a section");
    }
    let value = match like {
        Value::Integer(_) => {
            Value::Integer(text.parse().with_context(|| format!("`{text}` is no whole number"))?)
        }
        Value::Boolean(_) => {
            Value::Boolean(text.parse().with_context(|| format!("`{text}` is not true or false"))?)
        }
        Value::Array(_) => {
            let table: Table =
                format!("{key} = {text}").parse().with_context(|| format!("`{text}` is no TOML array"))?;
            table.get(key).cloned().with_context(|| format!("`{text}` is no TOML array"))?
        }
        Value::String(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            Value::String(text.to_owned())
        }
    };
    table.insert(key.clone(), value);
    Ok(())
}

fn refuse_unknown(table: &Table, known: &Table, at: &str) -> anyhow::Result<()> {
    for (key, value) in table {
        match (known.get(key), value) {
            (None, _) => bail!("the configuration has an {}", unknown(&format!("{at}{key}"), known)),
            (Some(Value::Table(known)), Value::Table(table)) => {
                refuse_unknown(table, known, &format!("{at}{key}."))?
            }
            (Some(_), _) => {}
        }
    }
    Ok(())
}

/// "unknown key `x`; did you mean `y`?", with the nearest of `known`.
fn unknown(key: &str, known: &Table) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    let nearest = known.keys().min_by_key(|candidate| strsim::damerau_levenshtein(last, candidate));
    match nearest {
        Some(nearest) if strsim::damerau_levenshtein(last, nearest) <= 3 => {
            format!("unknown key `{key}`; did you mean `{nearest}`?")
        }
        _ => {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("unknown key `{key}`; there are: {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> anyhow::Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("triggerfish.toml");
        std::fs::write(&path, file).unwrap();
        Config::load(Some(&path), env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn variables_win_over_the_file_and_the_file_over_the_defaults() {
        let config = load(
            "listen = \"127.0.0.1:1\"\n[events]\nkeep_hours = 5\nbytes_max = 7\n",
            &[("TRIGGERFISH_EVENTS__KEEP_HOURS", "6"), ("TRIGGERFISH_AUTH", "x"), ("PATH", "y")],
        )
        .unwrap();
        assert_eq!(
            (config.listen.as_str(), config.events.keep_hours, config.events.bytes_max),
            ("127.0.0.1:1", 6, 7)
        );
        assert_eq!(config.shutdown_seconds, Config::default().shutdown_seconds);
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_one() {
        let text = |file: &str, env: &[(&str, &str)]| format!("{:#}", load(file, env).unwrap_err());
        assert_eq!(
            text("lisen = \"x\"", &[]),
            "the configuration has an unknown key `lisen`; did you mean `listen`?"
        );
        assert_eq!(
            text("[events]\nkeephours = 1", &[]),
            "the configuration has an unknown key `events.keephours`; did you mean `keep_hours`?"
        );
        assert!(text("", &[("TRIGGERFISH_LISEN", "x")]).contains("did you mean `listen`?"));
        assert!(text("", &[("TRIGGERFISH_EVENTS__KEEP_HOURS", "x")]).contains("`x` is no whole number"));
        assert!(text("[containers]\nnetwork = \"host\"", &[]).contains("only `none`"));
        let private = text("[feeds]\nprivate_allowed = [\"intranet\"]", &[]);
        assert!(private.contains("feeds.private_allowed: `intranet` is no address or network"), "{private}");
    }

    #[test]
    fn every_key_stands_in_the_documentation_with_its_default() {
        let text = include_str!("../docs/configuration.md");
        let Value::Table(keys) = Value::try_from(Config::default()).unwrap() else { panic!("a table") };
        let line = |key: &str, value: &Value| {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("`{key}` is missing in docs/configuration.md"));
            let cell = format!("`{value}`");
            assert!(row.contains(&cell) || key == "containers.prewarm", "{key}: {cell} is not in `{row}`");
        };
        for (key, value) in &keys {
            match value {
                Value::Table(inner) => {
                    inner.iter().for_each(|(name, value)| line(&format!("{key}.{name}"), value))
                }
                value => line(key, value),
            }
        }
    }
}
