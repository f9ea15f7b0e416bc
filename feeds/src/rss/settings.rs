//! The parameters of `rss/feed`, read and checked. Pure.

use std::time::Duration;

use url::Url;

use crate::duration;

/// The interval where none is given: what most feeds are read at, and no burden for any server.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The shortest interval; more often is no polling but an attack.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval; what is read more seldom loses entries from most feeds.
const INTERVAL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest URL; servers take no longer ones.
const URL_BYTES_MAX: usize = 8 * 1024;
/// The most keywords of a filter.
const KEYWORDS_MAX: usize = 100;
/// The most entries that the first poll fires; a document holds no more as a rule.
const FIRST_MAX: u64 = 1000;
/// Of a filter's keywords so many of a hundred must occur (contract §3.6).
const KEYWORDS_PERCENT: usize = 60;

/// The parameters as they are given.
pub(crate) struct Given<'a> {
    pub(crate) url: Option<&'a str>,
    pub(crate) polling_interval: Option<&'a str>,
    pub(crate) filter: Option<&'a str>,
    pub(crate) first: Option<u64>,
    pub(crate) edits: bool,
}

/// The parameters, read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) url: Url,
    pub(super) interval: Duration,
    /// In lower case.
    keywords: Vec<String>,
    /// How many of the latest entries the first poll fires.
    pub(super) first: usize,
    /// Whether an entry that changed fires again.
    pub(super) edits: bool,
}

impl Settings {
    /// Reads the parameters; an error says which makes no sense and what was expected.
    pub(crate) fn read(given: &Given<'_>) -> Result<Self, String> {
        let url = given.url.ok_or("rss trigger feed: missing url parameter")?;
        let url = read_url(url)?;
        let interval = given.polling_interval.map_or(Ok(INTERVAL), read_interval)?;
        let keywords: Vec<String> = given
            .filter
            .unwrap_or_default()
            .split(',')
            .map(|word| word.trim().to_lowercase())
            .filter(|word| !word.is_empty())
            .collect();
        if keywords.len() > KEYWORDS_MAX {
            return Err(format!(
                "the parameter `filter` has {} keywords, more than {KEYWORDS_MAX}",
                keywords.len()
            ));
        }
        let first = given.first.unwrap_or(0);
        if first > FIRST_MAX {
            return Err(format!("the parameter `first` is {first}, more than {FIRST_MAX}"));
        }
        let first = usize::try_from(first).unwrap_or(0);
        Ok(Self { url, interval, keywords, first, edits: given.edits })
    }

    /// Whether an entry with these texts (title, description) passes the filter (contract §3.6).
    pub(super) fn passes(&self, texts: &[&str]) -> bool {
        if self.keywords.is_empty() {
            return true;
        }
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        let occurs = |word: &&String| texts.iter().any(|text| text.contains(word.as_str()));
        self.keywords.iter().filter(occurs).count() * 100 >= self.keywords.len() * KEYWORDS_PERCENT
    }
}

fn read_url(text: &str) -> Result<Url, String> {
    let expected = "expected a URL that begins with http:// or https://";
    if text.len() > URL_BYTES_MAX {
        return Err(format!("the parameter `url` has {} bytes, more than {URL_BYTES_MAX}", text.len()));
    }
    let url = Url::parse(text.trim())
        .map_err(|error| format!("the parameter `url` cannot be read ({error}); {expected}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("the parameter `url` has the scheme `{scheme}`; {expected}")),
    }
}

/// Reads the interval (contract §3.6).
fn read_interval(text: &str) -> Result<Duration, String> {
    let refused = |why: &str| {
        format!(
            "the parameter `pollingInterval` is `{text}`: {why}; expected something like 5s, 1m, 2.5hrs, 2 days"
        )
    };
    let interval = duration::read(text).map_err(refused)?;
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Err(refused("it is not between a second and 30 days"));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, interval: Option<&str>, filter: Option<&str>) -> Result<Settings, String> {
        let given = Given { url: Some(url), polling_interval: interval, filter, first: None, edits: false };
        Settings::read(&given)
    }

    #[test]
    fn intervals_are_texts_with_a_unit() {
        let seconds =
            |text: &str| read("http://a/", Some(text), None).map(|settings| settings.interval.as_secs_f64());
        for (text, expected) in [
            ("2h", 7200.0),
            ("1m", 60.0),
            ("5s", 5.0),
            ("2 days", 172_800.0),
            ("2.5hrs", 9000.0),
            (" 1 Week ", 604_800.0),
            ("90 sec", 90.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "5", "h", "5 parsecs", "-5s", "0.1s", "31d", "1e400h", "NaNs", "5s 5s"] {
            let error = seconds(wrong).unwrap_err();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("2.5hrs"), "{error}");
        }
        assert_eq!(read("http://a/", None, None).unwrap().interval, INTERVAL);
    }

    #[test]
    fn urls_are_those_of_the_web() {
        for wrong in ["", "feed", "ftp://a/", "file:///etc/passwd", "http://"] {
            assert!(read(wrong, None, None).unwrap_err().contains("`url`"), "{wrong}");
        }
        assert_eq!(read("https://A.example/x", None, None).unwrap().url.as_str(), "https://a.example/x");
    }

    #[test]
    fn six_of_ten_keywords_have_to_occur() {
        let passes = |filter: &str, title: &str, description: &str| {
            read("http://a/", None, Some(filter)).unwrap().passes(&[title, description])
        };
        assert!(passes("", "any", ""));
        assert!(passes("Rust", "about RUST", ""));
        assert!(!passes("rust", "about", "nothing"));
        assert!(passes("a1, b2, c3, d4, e5", "a1 b2", "c3"), "3 of 5 are 60 %");
        assert!(!passes("a1,b2,c3,d4,e5", "a1 b2", "x"), "2 of 5 are 40 %");
        assert!(!passes("rust,go", "rust", ""), "1 of 2 is 50 %");
        assert!(passes("rust,go,", "rust", "and GO"));
    }
}
