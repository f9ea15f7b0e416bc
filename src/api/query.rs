//! Query parameters (contract §1.2, §1.8).

use std::borrow::Cow;
use std::time::Duration;

use triggerfish_model::{Name, Timestamp};

use super::problem::Problem;
use super::reply::Result;

/// What a list shows where no limit is given.
const LIMIT_DEFAULT: usize = 30;
/// The most that a list shows; `limit=0` asks for it.
const LIMIT_MAX: i32 = 200;
/// The longest wait of a blocking invocation.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// The parameters of a request.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Which part of a list to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    pub(super) skip: usize,
    /// Whether only the number is asked for.
    pub(super) count: bool,
}

impl<'a> Query<'a> {
    pub(super) fn parse(text: Option<&'a str>) -> Self {
        Self(text.map_or_else(Vec::new, |text| url::form_urlencoded::parse(text.as_bytes()).collect()))
    }

    /// The parameter; of one given twice the last counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// All of them, decoded.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    /// A flag; empty is absent.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None | Some("") => Ok(default),
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(Problem::query(name, format!("'{text}' is not a valid Boolean value"))),
            },
        }
    }

    /// `limit`, `skip` and `count` of a list of `collection`.
    pub(super) fn page(&self, collection: &str) -> Result<Page> {
        let number = |name: &str| {
            self.get(name).map(|text| {
                text.parse::<i32>().map_err(|_| {
                    Problem::query(name, format!("The value '{text}' is not an integer for {collection}."))
                })
            })
        };
        let skip = match number("skip").transpose()? {
            None => 0,
            Some(skip) => usize::try_from(skip).map_err(|_| {
                let text = format!("The value '{skip}' is not greater than or equal to 0 for {collection}.");
                Problem::query("skip", text)
            })?,
        };
        let limit = match number("limit").transpose()? {
            None => LIMIT_DEFAULT,
            Some(0) => LIMIT_MAX.unsigned_abs() as usize,
            Some(limit) => usize::try_from(limit).ok().filter(|_| limit <= LIMIT_MAX).ok_or_else(|| {
                let text =
                    format!("The value '{limit}' is not in the range of 0 to {LIMIT_MAX} for {collection}.");
                Problem::query("limit", text)
            })?,
        };
        Ok(Page { limit, skip, count: self.flag("count", false)? })
    }

    /// `since` or `upto`: milliseconds, though the contract's text says seconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let millis = text.parse().map_err(|_| {
            Problem::query(name, format!("Parameter is not a valid value for epoch seconds: {text}"))
        })?;
        Ok(Some(Timestamp::from_millis(millis)))
    }

    /// The `name` filter of activations: `name` or `package/name`.
    pub(super) fn activation_name(&self) -> Result<Option<String>> {
        let Some(text) = self.get("name").filter(|text| !text.is_empty()) else { return Ok(None) };
        let trimmed = text.strip_prefix('/').unwrap_or(text);
        let segments: Vec<&str> = trimmed.split('/').collect();
        if segments.len() > 2 || segments.iter().any(|segment| segment.parse::<Name>().is_err()) {
            let text = format!("Parameter may be a 'simple' name or 'package-name/simple' name: {text}");
            return Err(Problem::query("name", text));
        }
        Ok(Some(trimmed.to_owned()))
    }

    /// How long a blocking caller waits.
    pub(super) fn wait(&self) -> Result<Duration> {
        let Some(text) = self.get("timeout") else { return Ok(WAIT_MAX) };
        text.parse()
            .ok()
            .map(Duration::from_millis)
            .filter(|wait| !wait.is_zero() && *wait <= WAIT_MAX)
            .ok_or_else(|| Problem::query("timeout", "Timeout must be number of milliseconds up to 60000."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> std::result::Result<Page, String> {
        Query::parse(Some(text)).page("actions").map_err(|problem| problem.text)
    }

    #[test]
    fn pages_are_read_or_refused_with_the_contracts_words() {
        assert_eq!(page(""), Ok(Page { limit: 30, skip: 0, count: false }));
        assert_eq!(page("limit=0&skip=2&count=TRUE"), Ok(Page { limit: 200, skip: 2, count: true }));
        for (bad, why) in [
            ("limit=", "The value '' is not an integer for actions."),
            ("limit=99999999999", "The value '99999999999' is not an integer for actions."),
            ("limit=201", "The value '201' is not in the range of 0 to 200 for actions."),
            ("limit=-1", "The value '-1' is not in the range of 0 to 200 for actions."),
            ("skip=-1", "The value '-1' is not greater than or equal to 0 for actions."),
            ("count=maybe", "'maybe' is not a valid Boolean value"),
        ] {
            assert!(page(bad).unwrap_err().ends_with(why), "{bad}");
        }
    }

    #[test]
    fn waits_are_between_a_millisecond_and_a_minute() {
        let wait = |text: &str| Query::parse(Some(text)).wait().is_ok();
        assert!(wait("") && wait("timeout=1") && wait("timeout=60000"));
        for bad in ["timeout=0", "timeout=60001", "timeout=", "timeout=1.5", "timeout=-5"] {
            assert!(!wait(bad), "{bad}");
        }
    }
}
