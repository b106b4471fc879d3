//! Secrets at rest: sealed under the master key (XChaCha20-Poly1305), looked up by keyed hash (HMAC-SHA-256).

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Nonce bytes of XChaCha20: long enough to draw at random without counting.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A secret that was sealed: base64 of nonce and ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sealed(String);

/// The keyed hash by which an API key is found without being stored in clear.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Lookup(String);

/// A sealed secret did not open: another master key, another purpose, or damaged text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed secret does not open under this master key")]
pub struct OpenError;

/// A 32-byte key that seals. The house's master key is one; each person has others.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key from its bytes, which the caller drew at random or read from the master key file.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key from the 64 hex digits of a master key file.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        Some(Self::new(bytes))
    }

    /// The key as 64 hex digits, for the master key file only.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0))
    }

    fn mac(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// The keyed hash of an API key.
    pub fn lookup(&self, api_key: &str) -> Lookup {
        Lookup(hex::encode(self.mac("api-key-lookup", api_key.as_bytes())))
    }

    /// Seals `clear` for one `purpose` (which must be named again to open it) with a nonce that is never used twice.
    pub fn seal(&self, purpose: &str, clear: &[u8], nonce: [u8; NONCE_BYTES]) -> Sealed {
        let cipher = XChaCha20Poly1305::new((&self.mac("seal", b"")).into());
        let payload = Payload { msg: clear, aad: purpose.as_bytes() };
        let sealed = cipher.encrypt(&nonce.into(), payload).expect("clear texts are far below the cipher's limit of 256 GiB");
        Sealed(STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what [`Key::seal`] sealed for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let bytes = STANDARD_NO_PAD.decode(&sealed.0).map_err(|_| OpenError)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(OpenError)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| OpenError)?;
        let cipher = XChaCha20Poly1305::new((&self.mac("seal", b"")).into());
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        cipher.decrypt(&nonce.into(), payload).map(Zeroizing::new).map_err(|_| OpenError)
    }
}

impl Lookup {
    /// Whether two keyed hashes are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_purpose() {
        let key = Key::new([1; KEY_BYTES]);
        let sealed = key.seal("token", b"EAAB", [9; NONCE_BYTES]);
        assert_eq!(key.open("token", &sealed).as_deref().map(Vec::as_slice), Ok(b"EAAB".as_slice()));
        assert_eq!(key.open("api-key", &sealed).err(), Some(OpenError));
        assert_eq!(Key::new([2; KEY_BYTES]).open("token", &sealed).err(), Some(OpenError));
        assert_eq!(key.open("token", &Sealed("!".into())).err(), Some(OpenError));
        assert_eq!(key.open("token", &Sealed(String::new())).err(), Some(OpenError));
    }

    #[test]
    fn look_ups_differ_by_key_and_by_text() {
        let key = Key::new([1; KEY_BYTES]);
        assert!(key.lookup("a").matches(&key.lookup("a")));
        assert!(!key.lookup("a").matches(&key.lookup("b")));
        assert!(!key.lookup("a").matches(&Key::new([2; KEY_BYTES]).lookup("a")));
        assert_eq!(Key::from_hex(&key.to_hex()).map(|k| k.to_hex()), Some(key.to_hex()));
    }
}
