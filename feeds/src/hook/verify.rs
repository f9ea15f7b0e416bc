//! Verifies who sent a request. Wrong signatures and tokens take the same time wherever they differ.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::scheme::{Encoding, Hash, Kind, Part, Scheme, SecretEncoding};
use super::{HookError, HookReason, HookRequest};

/// Signatures that are looked at in one header: a sender that changes its secret sends two.
const SIGNATURES_MAX: usize = 8;

/// A scheme with the secrets that sign by it; there are several while a sender changes from one to the next.
#[derive(Clone)]
pub(crate) struct Verifier {
    scheme: Scheme,
    keys: Vec<Vec<u8>>,
}

impl Verifier {
    /// A verifier; the text says which secret cannot be a key.
    pub(crate) fn new(scheme: Scheme, secrets: &[String]) -> Result<Self, String> {
        let key = |secret: &String| match scheme.secret_encoding {
            SecretEncoding::Text => Ok(secret.clone().into_bytes()),
            SecretEncoding::Base64 => {
                let bare = secret.split_once('_').map_or(secret.as_str(), |(_, rest)| rest);
                STANDARD
                    .decode(bare)
                    .or_else(|_| STANDARD_NO_PAD.decode(bare))
                    .map_err(|_| "the parameter `secret` is not the base64 that its scheme has".to_owned())
            }
        };
        let keys = secrets.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { scheme, keys })
    }

    /// The scheme.
    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The first secret's key, for handshakes that answer with it.
    pub(crate) fn key(&self) -> &[u8] {
        self.keys.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Refuses a request that none of the secrets signed.
    pub(crate) fn verify(&self, request: &HookRequest) -> Result<(), HookError> {
        let scheme = &self.scheme;
        let header = &scheme.header;
        let Some(given) = request.header(header).map(str::trim).filter(|given| !given.is_empty()) else {
            let what = match scheme.kind {
                Kind::Hmac => "the request's signature",
                Kind::Token => "the secret",
            };
            let text = format!("the header {header} is missing: it holds {what}");
            return Err(HookError::new(HookReason::Unsigned, text));
        };
        if scheme.kind == Kind::Token {
            return self.verify_token(given);
        }
        let wrong = || {
            HookError::new(HookReason::Signature, format!("the signature in {header} is not this request's"))
        };
        let timestamp = self.timestamp(request, given)?;
        let parts = scheme.parts().map_err(|text| HookError::new(HookReason::Fault, text))?;
        let mut signed: Vec<&[u8]> = Vec::with_capacity(parts.len());
        for part in parts {
            signed.push(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Body => &request.body,
                Part::Timestamp => timestamp.unwrap_or_default().as_bytes(),
                Part::Id => scheme
                    .id_header
                    .as_deref()
                    .and_then(|name| request.header(name))
                    .ok_or_else(|| missing_id(scheme))?
                    .as_bytes(),
            });
        }
        let is_right =
            |signature: &[u8]| self.keys.iter().any(|key| is_mac(scheme.hash, key, &signed, signature));
        let found = self.signatures(given).iter().any(|signature| is_right(signature));
        if found { Ok(()) } else { Err(wrong()) }
    }

    fn verify_token(&self, given: &str) -> Result<(), HookError> {
        let given = given.strip_prefix(&self.scheme.prefix).unwrap_or(given);
        // Of equal length whatever was given, so that not even the secret's length is told.
        let digest = |bytes: &[u8]| Sha256::digest(bytes);
        let given = digest(given.as_bytes());
        let is_right = |key: &Vec<u8>| bool::from(digest(key).as_slice().ct_eq(given.as_slice()));
        if self.keys.iter().any(is_right) {
            return Ok(());
        }
        let text = format!("the secret in {} is not this webhook's", self.scheme.header);
        Err(HookError::new(HookReason::Signature, text))
    }

    /// The time of signing as it was sent, where the scheme has one and it is near enough.
    fn timestamp<'a>(&self, request: &'a HookRequest, given: &'a str) -> Result<Option<&'a str>, HookError> {
        let scheme = &self.scheme;
        let refused = |text: String| Err(HookError::new(HookReason::Timestamp, text));
        let (place, text) = match (&scheme.timestamp_header, &scheme.timestamp_prefix) {
            (None, None) => return Ok(None),
            (Some(name), _) => (name, request.header(name)),
            (None, Some(prefix)) => {
                let mut parts = given.split(scheme.separator.unwrap_or(','));
                (&scheme.header, parts.find_map(|part| part.trim().strip_prefix(prefix.as_str())))
            }
        };
        let Some(text) = text else { return refused(format!("{place} does not hold the time of signing")) };
        let Ok(seconds) = text.trim().parse::<i64>() else {
            return refused(format!("the time of signing in {place} is no number of seconds since 1970"));
        };
        let off = (request.received.as_millis() / 1000).abs_diff(seconds);
        if off > u64::from(scheme.tolerance) {
            return refused(format!(
                "the time of signing in {place} is {off} s off, more than {} s",
                scheme.tolerance
            ));
        }
        Ok(Some(text))
    }

    /// The signatures in a header's value, decoded; what is none is left out.
    fn signatures(&self, given: &str) -> Vec<Vec<u8>> {
        let scheme = &self.scheme;
        let parts: Vec<&str> = match scheme.separator {
            Some(separator) => given.split(separator).collect(),
            None => vec![given],
        };
        let bare = |part: &str| {
            let part = part.trim();
            match part.strip_prefix(&scheme.prefix) {
                Some(bare) => Some(bare.to_owned()),
                None => scheme.prefix_optional.then(|| part.to_owned()),
            }
        };
        let decode = |text: String| match scheme.encoding {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Any => hex::decode(&text).ok().or_else(|| STANDARD.decode(text).ok()),
        };
        parts.into_iter().filter_map(bare).filter_map(decode).take(SIGNATURES_MAX).collect()
    }
}

/// The refusal of a request without the id that its scheme has.
fn missing_id(scheme: &Scheme) -> HookError {
    let name = scheme.id_header.as_deref().unwrap_or_default();
    HookError::new(HookReason::Id, format!("the header {name} is missing: it holds the delivery's id"))
}

fn is_mac(hash: Hash, key: &[u8], signed: &[&[u8]], signature: &[u8]) -> bool {
    match hash {
        Hash::Sha1 => is_mac_of::<Hmac<Sha1>>(key, signed, signature),
        Hash::Sha256 => is_mac_of::<Hmac<Sha256>>(key, signed, signature),
        Hash::Sha512 => is_mac_of::<Hmac<Sha512>>(key, signed, signature),
    }
}

fn is_mac_of<M: Mac + KeyInit>(key: &[u8], signed: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in signed {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests;
