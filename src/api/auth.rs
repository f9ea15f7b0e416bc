//! Basic authentication (contract §1.1), with a small cache before the subject store.
//!
//! The cache keeps a keyed hash of uuid and key, never the key. An entry lives for [`FRESH`], so a changed key works
//! on that much longer at most.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use triggerfish_store::{Identity, SubjectStore};

use super::problem::Problem;
use super::reply::Result;

/// How long a key that was right is taken to be right still.
const FRESH: Duration = Duration::from_secs(5);
/// How many keys are remembered; one takes about 300 bytes.
const ENTRIES_MAX: usize = 1024;
/// The length of a key (contract §1.1).
const KEY_CHARS: usize = 64;

const NOT_SUPPLIED: &str = "The resource requires authentication, which was not supplied with the request";
const INVALID: &str = "The supplied authentication is invalid";

/// Keys that were right a moment ago.
pub(super) struct Authenticator {
    salt: [u8; 16],
    known: RwLock<HashMap<[u8; 32], (Identity, Instant)>>,
}

impl Authenticator {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        let salt = (u128::from(random.hash_one(1_u8)) << 64) | u128::from(random.hash_one(2_u8));
        Self { salt: salt.to_le_bytes(), known: RwLock::default() }
    }

    /// Who calls.
    pub(super) async fn identify(
        &self,
        subjects: &dyn SubjectStore,
        headers: &HeaderMap,
    ) -> Result<Identity> {
        let text = credentials(headers).ok_or_else(|| Problem::unauthorized(NOT_SUPPLIED))?;
        let (uuid, key) = text
            .split_once(':')
            .filter(|(_, key)| key.len() == KEY_CHARS)
            .ok_or_else(|| Problem::unauthorized(INVALID))?;
        let digest: [u8; 32] = Sha256::new_with_prefix(self.salt).chain_update(&text).finalize().into();
        if let Some((identity, seen)) = self.known.read().get(&digest)
            && seen.elapsed() < FRESH
        {
            return Ok(identity.clone());
        }
        let identity =
            subjects.authenticate(uuid, key).await?.ok_or_else(|| Problem::unauthorized(INVALID))?;
        let mut known = self.known.write();
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert(digest, (identity.clone(), Instant::now()));
        Ok(identity)
    }
}

/// The decoded `uuid:key`, where the header is Basic and base64.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_basic_credentials_in_base64_are_read() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            credentials(&headers)
        };
        assert_eq!(read("Basic YTpi"), Some("a:b".to_owned()));
        assert_eq!(read("basic YTpi"), Some("a:b".to_owned()));
        for bad in ["", "Basic", "Basic @@@@", "Bearer abcdef"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
