//! Which hub, and with which key: flags, then environment, then `~/.wskprops`, as `wsk` does it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use url::{Host, Url};

use super::payload;

/// The hub where nothing names one.
const HOST_DEFAULT: &str = "http://127.0.0.1:3233";
/// The publicly known key of a hub started with `--dev`; tried where no key is given and the hub is this machine's.
const KEY_OF_DEV: &str = concat!(
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:",
    "123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP"
);
/// The variables that name the hub, in order: ours, then those of `wsk`.
const ENV_HOST: [&str; 2] = ["TRIGGERFISH_HOST", "WHISK_APIHOST"];
/// The variables that hold the key.
const ENV_AUTH: [&str; 2] = ["TRIGGERFISH_AUTH", "WHISK_AUTH"];

/// The hub and the key.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The hub, HOST:PORT or URL [env: TRIGGERFISH_HOST] [.wskprops: APIHOST] [default: 127.0.0.1:3233]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The key, UUID:KEY; others on this machine can see it, so the variable is better [env: TRIGGERFISH_AUTH] [.wskprops: AUTH]
    #[arg(long, value_name = "KEY", conflicts_with = "auth_file")]
    auth: Option<String>,
    /// A file that holds the key alone; - is standard input
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

/// A hub, a key, and where the key was found.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) uuid: String,
    pub(super) key: String,
    pub(super) key_from: String,
    /// The namespace of `.wskprops`, `_` where there is none.
    pub(super) namespace: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({} as {}, key from {})", self.url, self.namespace, self.key_from)
    }
}

/// What `.wskprops` says.
#[derive(Default)]
struct Properties {
    host: Option<String>,
    auth: Option<String>,
    namespace: Option<String>,
}

impl Connection {
    /// Finds the hub and the key.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let (path, must_exist) = match env("WSK_CONFIG_FILE") {
            Some(path) => (Some(PathBuf::from(path)), true),
            None => (env("HOME").map(|home| Path::new(&home).join(".wskprops")), false),
        };
        let properties = match &path {
            Some(path) if must_exist || path.exists() => properties(path)?,
            _ => Properties::default(),
        };
        let file = path.map_or_else(String::new, |path| path.display().to_string());
        let from_file = match &self.auth_file {
            Some(path) => Some((payload::read(path)?.0, path.display().to_string())),
            None => None,
        };
        self.choose(env, from_file, properties, &file)
    }

    fn choose(
        &self,
        env: impl Fn(&str) -> Option<String>,
        from_file: Option<(String, String)>,
        properties: Properties,
        file: &str,
    ) -> anyhow::Result<Target> {
        let of_env = |names: [&str; 2]| {
            names.iter().find_map(|name| env(name).map(|value| (value, format!("the variable {name}"))))
        };
        let of_file = |value: Option<String>| value.map(|value| (value, file.to_owned()));
        let (host, host_from) = self
            .host
            .clone()
            .map(|host| (host, "--host".to_owned()))
            .or_else(|| of_env(ENV_HOST))
            .or_else(|| of_file(properties.host))
            .unwrap_or_else(|| (HOST_DEFAULT.to_owned(), "the default".to_owned()));
        let url = parse_host(host.trim()).with_context(|| format!("the hub's address from {host_from}"))?;
        let auth = self
            .auth
            .clone()
            .map(|auth| (auth, "--auth".to_owned()))
            .or(from_file)
            .or_else(|| of_env(ENV_AUTH))
            .or_else(|| of_file(properties.auth));
        let (auth, key_from) = match auth {
            Some(found) => found,
            None if is_loopback(&url) => {
                (KEY_OF_DEV.to_owned(), "the development key: no other was given".to_owned())
            }
            None => bail!(
                "no key for {url}\n  give the variable TRIGGERFISH_AUTH=UUID:KEY, --auth-file FILE, or a line AUTH=UUID:KEY in ~/.wskprops"
            ),
        };
        // The text itself stays out of the message: it may be a key with a slip in it.
        let (uuid, key) = auth
            .trim()
            .split_once(':')
            .with_context(|| format!("the key from {key_from} has no colon; expected UUID:KEY"))?;
        Ok(Target {
            url,
            uuid: uuid.to_owned(),
            key: key.to_owned(),
            key_from,
            namespace: properties.namespace.unwrap_or_else(|| "_".to_owned()),
        })
    }
}

/// Whether the URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reads a host: a URL, or `host[:port]`, which is spoken to over TLS unless it is this machine.
fn parse_host(text: &str) -> anyhow::Result<Url> {
    let expected = "expected HOST:PORT or a URL, like 127.0.0.1:3233 or https://hub.example.com";
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    // A URL may hold a password, so only a bare host is repeated.
    let mut url = Url::parse(&with_scheme).map_err(|error| anyhow::anyhow!("{error}; {expected}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        bail!("its scheme is `{}`; {expected}", url.scheme());
    }
    if !url.username().is_empty() || url.password().is_some() {
        bail!("it holds a user or password: give the key by TRIGGERFISH_AUTH");
    }
    if !text.contains("://") && is_loopback(&url) {
        url = Url::parse(&format!("http://{text}"))?;
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn properties(path: &Path) -> anyhow::Result<Properties> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the properties in {}", path.display()))?;
    parse_properties(&text).with_context(|| path.display().to_string())
}

/// Reads lines `KEY=VALUE`. Keys that this client has no use for are other programs' and stay unread.
fn parse_properties(text: &str) -> anyhow::Result<Properties> {
    let mut found = Properties::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            bail!("line {}: expected KEY=VALUE", number + 1);
        };
        let value = Some(value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "APIHOST" => found.host = value,
            "AUTH" => found.auth = value,
            "NAMESPACE" => found.namespace = value,
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(connection: &Connection, env: &[(&str, &str)], wskprops: &str) -> Result<Target, String> {
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let properties = parse_properties(wskprops).unwrap();
        connection.choose(env, None, properties, ".wskprops").map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_win_over_variables_and_these_over_the_file() {
        let file = "# mine\nAPIHOST=http://127.0.0.1:1\nAUTH=f:3\nNAMESPACE=guest\nAPIGW_ACCESS_TOKEN=x\n";
        let flags =
            Connection { host: Some("localhost:2".into()), auth: Some("a:1".into()), auth_file: None };
        let env = [("WHISK_APIHOST", "https://other"), ("TRIGGERFISH_AUTH", "e:2")];
        let of = |connection, env| {
            let target = choose(connection, env, file).unwrap();
            (target.url.to_string(), target.uuid, target.key_from)
        };
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(of(&flags, &env), text("http://localhost:2/", "a", "--auth"));
        let none = Connection::default();
        assert_eq!(of(&none, &env), text("https://other/", "e", "the variable TRIGGERFISH_AUTH"));
        assert_eq!(of(&none, &[]), text("http://127.0.0.1:1/", "f", ".wskprops"));
        assert_eq!(choose(&none, &[], file).unwrap().namespace, "guest");
        let bare = choose(&none, &[], "").unwrap();
        assert_eq!((bare.url.as_str(), bare.namespace.as_str()), ("http://127.0.0.1:3233/", "_"));
        assert!(bare.key_from.starts_with("the development key"));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_keys_are_not_repeated() {
        let host = |host: &str| Connection { host: Some(host.into()), ..Connection::default() };
        for (bad, why) in [
            ("ftp://x", "its scheme is `ftp`"),
            ("a b", "expected HOST:PORT"),
            ("https://u:hunter2@x", "give the key by TRIGGERFISH_AUTH"),
            ("example.com", "no key for https://example.com/"),
        ] {
            let error = choose(&host(bad), &[], "").unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{bad}: {error}");
        }
        let error = choose(&Connection::default(), &[("WHISK_AUTH", "hunter2")], "").unwrap_err();
        assert!(error.contains("WHISK_AUTH has no colon") && !error.contains("hunter2"), "{error}");
        assert!(parse_properties("AUTH\n").err().unwrap().to_string().contains("line 1: expected KEY=VALUE"));
    }
}
