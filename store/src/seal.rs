//! Sealing: what is secret is stored as AES-256-GCM under a master key that lies outside the database.
//!
//! The master key is a file of the data directory, made at the first start, readable by the hub's user alone. Whoever
//! has a copy of the database without it has no secret.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;

use crate::{Result, StoreError};

const KEY_BYTES: usize = 32;
/// Bytes of a GCM nonce; drawn at random for each value (NIST SP 800-38D §8.2.2: fine up to 2^32 values a key).
const NONCE_BYTES: usize = 12;

/// The master key, and what is done with it.
pub struct Seal {
    cipher: Aes256Gcm,
    lookup: [u8; KEY_BYTES],
}

impl Seal {
    /// Reads the master key, or makes it on the first start; it is on disk before this returns.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            StoreError::Unavailable(format!("the master key {}: {error}", path.display()))
        };
        let mut key = [0; KEY_BYTES];
        match File::open(path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(failed)?;
                key = bytes.try_into().map_err(|bytes: Vec<u8>| {
                    StoreError::Corrupt(format!(
                        "the master key {} has {} bytes, not {KEY_BYTES}",
                        path.display(),
                        bytes.len()
                    ))
                })?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                rand::rng().fill_bytes(&mut key);
                let fresh = path.with_extension("new");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&fresh)
                    .map_err(failed)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
                std::fs::rename(&fresh, path).map_err(failed)?;
                let parent = path.parent().unwrap_or(Path::new("."));
                File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key));
        // Lookups use a key of their own, so that no MAC says anything of the cipher's key.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(b"triggerfish lookup");
        Ok(Self { cipher, lookup: mac.finalize().into_bytes().into() })
    }

    /// `plain` sealed, bound to `context`: it opens only with the same one.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(Nonce::from_slice(&nonce), Payload { msg: plain, aad: context })
            .map_err(|_| StoreError::Unavailable("a value cannot be sealed".into()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed with `context`.
    pub fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let corrupt =
            || StoreError::Corrupt("a sealed value does not open: was the master key exchanged?".into());
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(corrupt)?;
        self.cipher
            .decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: context })
            .map_err(|_| corrupt())
    }

    /// By what a secret is found: HMAC-SHA256. Equal secrets have equal ones, and they tell nothing else.
    pub fn lookup(&self, secret: &[u8]) -> [u8; 32] {
        let mut mac =
            <Hmac<Sha256> as Mac>::new_from_slice(&self.lookup).expect("HMAC takes keys of any length");
        mac.update(secret);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let seal = Seal::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = seal.seal(b"a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let again = Seal::open(&path).unwrap();
        assert_eq!(again.open_sealed(b"a", &sealed).unwrap(), b"secret");
        assert!(again.open_sealed(b"b", &sealed).is_err());
        assert_eq!(again.lookup(b"x"), seal.lookup(b"x"));
        std::fs::write(&path, [0; 32]).unwrap();
        let other = Seal::open(&path).unwrap();
        assert!(other.open_sealed(b"a", &sealed).is_err());
        assert_ne!(other.lookup(b"x"), seal.lookup(b"x"));
        std::fs::write(&path, [0; 5]).unwrap();
        assert!(matches!(Seal::open(&path), Err(StoreError::Corrupt(_))));
    }
}
