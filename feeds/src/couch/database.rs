//! Requests to a database, and what its refusals mean.

use std::sync::Arc;

use reqwest::{Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::settings::Settings;
use crate::provider::FeedError;
use crate::web;

/// The largest short answer; the information on a database, and what has changed since now.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How much of the text of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 4096;

/// Short requests to a database.
#[derive(Clone)]
pub(super) struct Database {
    settings: Arc<Settings>,
    client: reqwest::Client,
}

impl Database {
    pub(super) fn new(settings: Arc<Settings>, client: reqwest::Client) -> Self {
        Self { settings, client }
    }

    /// The sequence of now.
    pub(super) async fn latest(&self) -> Result<Value, FeedError> {
        let url = self.settings.latest();
        let answer = self.json(&url).await?;
        answer.get("last_seq").cloned().ok_or_else(|| self.no_database(&url))
    }

    /// Whether the database is younger than `seq`, so that it was deleted and made again. An error where it is not there.
    ///
    /// Only where sequences are plain numbers, as on a single server. A cluster's say less, since its servers lag behind one
    /// another, and a cluster knows by itself the sequences of a database that is no more.
    pub(super) async fn is_younger_than(&self, seq: &Value) -> Result<bool, FeedError> {
        let url = &self.settings.database;
        let info = self.json(url).await?;
        let latest = info.get("update_seq").ok_or_else(|| self.no_database(url))?;
        Ok(matches!((number(latest), number(seq)), (Some(latest), Some(seq)) if latest < seq))
    }

    /// An answer that is read whole, and is small.
    async fn json(&self, url: &Url) -> Result<Value, FeedError> {
        let mut answer = self.get(url).await?;
        let bytes =
            start_of(&mut answer, ANSWER_BYTES_MAX).await.map_err(|error| web::failure(url, &error))?;
        serde_json::from_slice(&bytes).map_err(|_| self.no_database(url))
    }

    /// An answer that is not refused.
    pub(super) async fn get(&self, url: &Url) -> Result<Response, FeedError> {
        let request = self.client.get(url.clone());
        let request = match &self.settings.credentials {
            Some((username, password)) => request.basic_auth(username, Some(password)),
            None => request,
        };
        let mut answer = request.send().await.map_err(|error| web::failure(url, &error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        // The status says enough where the rest does not come.
        let text = start_of(&mut answer, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        Err(self.refusal(status, &text))
    }

    fn refusal(&self, status: StatusCode, text: &[u8]) -> FeedError {
        let said: Value = serde_json::from_slice(text).unwrap_or_default();
        let said = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
        let (database, reason) = (web::shown(&self.settings.database), said("reason"));
        let what = match status {
            StatusCode::UNAUTHORIZED => "the database refuses the credentials".to_owned(),
            StatusCode::FORBIDDEN => format!("the database gives no right to read it: {reason}"),
            StatusCode::NOT_FOUND => format!("there is no such database, or no such filter: {reason}"),
            status => format!("the database answered {status}: {} {reason}", said("error")),
        };
        let text = format!("`{database}`: {}", what.trim_end_matches([' ', ':']));
        if status.is_server_error() { FeedError::Unavailable(text) } else { FeedError::Refused(text) }
    }

    fn no_database(&self, url: &Url) -> FeedError {
        FeedError::Refused(format!("`{}`: the answer is not that of a CouchDB database", web::shown(url)))
    }
}

/// The first bytes of an answer.
async fn start_of(answer: &mut Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        bytes.extend_from_slice(piece.get(..piece.len().min(most - bytes.len())).unwrap_or_default());
        if bytes.len() >= most {
            break;
        }
    }
    Ok(bytes)
}

/// The number that a sequence is, where it is nothing else.
fn number(seq: &Value) -> Option<u64> {
    seq.as_u64().or_else(|| seq.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_plain_numbers_are_compared() {
        assert_eq!(number(&json!(12)), Some(12));
        assert_eq!(number(&json!("7")), Some(7));
        assert_eq!(number(&json!("23-g1AAAA")), None);
        assert_eq!(number(&json!([1, "x"])), None);
    }
}
