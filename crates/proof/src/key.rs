//! Keys that sign notes, and their text forms (C2SP signed-note).
//!
//! ```text
//! verifier's key   <name>+<key id>+base64(<algorithm> ‖ <public key>)
//! signer's key     PRIVATE+KEY+<name>+<key id>+base64(<algorithm> ‖ <seed>)
//! key id           the first four bytes of SHA-256(<name> ‖ 0x0A ‖ <algorithm> ‖ <public key>)
//! ```
//!
//! A key id is a name, not a fingerprint: 32 bits can be made to collide. It says which of the keys that the verifier
//! *already trusts* to try, and nothing more.
//!
//! The algorithm's byte is part of the key's identity. One Ed25519 key under the byte 0x01 signs a note's text as it
//! is; under 0x04 it signs a text that begins with `cosignature/v1` and a time. The two must never be confused, so a
//! [`Signer`] refuses a text that begins like a cosignature's.
//!
//! Ed25519 is RFC 8032's, verified without cofactor; a signature whose scalar is not reduced is refused, so nobody can
//! make a second signature of one that he sees. Signing takes no randomness.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::limits::{KEY_BYTES_MAX, KEY_NAME_BYTES_MAX, SIZE_MAX};
use crate::note::Signature;
use crate::text;

/// The bytes of an Ed25519 seed, and of its public key.
pub const KEY_BYTES: usize = 32;
/// The bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// What the text of a cosigned message begins with.
const COSIGNATURE_HEADER: &str = "cosignature/v1\n";

/// How a key signs. The number is the signature type that signed-note assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Algorithm {
    /// Ed25519 over the note's text.
    Ed25519 = 0x01,
    /// Ed25519 over a time and the text of a checkpoint (tlog-cosignature).
    Ed25519Cosignature = 0x04,
    /// ML-DSA-44 over a time and a checkpoint (tlog-cosignature). Its keys are known by name and refused:
    /// see [`KeyError::NotSupported`].
    MlDsa44Cosignature = 0x06,
}

impl Algorithm {
    /// The byte that stands for the algorithm in keys.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ed25519Cosignature => 0x04,
            Self::MlDsa44Cosignature => 0x06,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, KeyError> {
        match byte {
            0x01 => Ok(Self::Ed25519),
            0x04 => Ok(Self::Ed25519Cosignature),
            0x06 => Ok(Self::MlDsa44Cosignature),
            other => Err(KeyError::UnknownAlgorithm(other)),
        }
    }
}

/// Why a text is not a key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has another form.
    #[error("not a key: {0}")]
    Form(&'static str),
    /// No algorithm has this byte.
    #[error("no signature algorithm has the byte {0:#04x}")]
    UnknownAlgorithm(u8),
    /// The algorithm is known, but there is no code for it.
    #[error(
        "keys of {0:?} are not supported yet: use the Ed25519 key that a public log must have as well"
    )]
    NotSupported(Algorithm),
    /// The id does not belong to this name and key: one of them was changed.
    #[error("the key's id is {found:08x}, but its name and bytes have the id {expected:08x}")]
    Id {
        /// The id that the name and the bytes have.
        expected: u32,
        /// The id that the text says.
        found: u32,
    },
}

/// A public key with its name: whom to believe.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    id: u32,
    public: [u8; KEY_BYTES],
}

impl VerifierKey {
    /// Joins a name and an Ed25519 public key.
    ///
    /// # Errors
    /// When the name is none, or the algorithm is not supported.
    pub fn new(
        name: &str,
        algorithm: Algorithm,
        public: [u8; KEY_BYTES],
    ) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Form("its name is empty, too long, or has a blank or a plus"));
        }
        match algorithm {
            Algorithm::Ed25519 | Algorithm::Ed25519Cosignature => {}
            Algorithm::MlDsa44Cosignature => return Err(KeyError::NotSupported(algorithm)),
        }
        let id = key_id(name, algorithm, &public);
        Ok(Self { name: name.to_owned(), algorithm, id, public })
    }

    /// Reads a verifier's key, as [`fmt::Display`] writes it.
    ///
    /// # Errors
    /// When it is none, its id does not fit, or its algorithm is not supported.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        let parts = KeyText::parse(key)?;
        let public = parts.bytes()?;
        let key = Self::new(parts.name, parts.algorithm, public)?;
        parts.check_id(key.id)?;
        Ok(key)
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How the key signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key's bytes.
    #[must_use]
    pub fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    /// Whether a signature says that this key made it.
    #[must_use]
    pub fn is_named_by(&self, signature: &Signature) -> bool {
        self.name == signature.name() && self.id == signature.key_id()
    }

    /// Checks this key's signature of a note's text. A cosignature's time is returned, in seconds since 1970 UTC.
    ///
    /// `None` when the signature is not of this key and this text.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &Signature) -> Option<SignedAt> {
        if !self.is_named_by(signature) {
            return None;
        }
        match self.algorithm {
            Algorithm::Ed25519 => {
                self.verify_bytes(text, signature.bytes()).then_some(SignedAt::Untimed)
            }
            Algorithm::Ed25519Cosignature => {
                let (time, bytes) = signature.bytes().split_first_chunk::<8>()?;
                let time_s = u64::from_be_bytes(*time);
                let message = cosigned_message(time_s, text);
                let holds = time_s <= SIZE_MAX && self.verify_bytes(&message, bytes);
                holds.then_some(SignedAt::Time(time_s))
            }
            Algorithm::MlDsa44Cosignature => None,
        }
    }

    fn verify_bytes(&self, message: &str, signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES
            && UnparsedPublicKey::new(&ED25519, &self.public)
                .verify(message.as_bytes(), signature)
                .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = tagged(self.algorithm, &self.public);
        write!(f, "{}+{:08x}+{body}", self.name, self.id)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a valid signature says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedAt {
    /// Nothing.
    Untimed,
    /// Seconds since 1970 UTC; at that time it was the largest tree that the cosigner had seen.
    Time(u64),
}

/// A private key that signs notes: a log's. Its secret is not shown.
#[derive(Debug)]
pub struct Signer {
    pair: Pair,
}

/// Why a text is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It is not the text of a note.
    #[error("the text of a note ends with a line end and has no control characters")]
    Text,
    /// It could be taken for a cosignature's message.
    #[error("a note must not begin with the line cosignature/v1")]
    Cosignature,
    /// The time is not one that a cosignature can have.
    #[error("{0} is not a time in seconds since 1970")]
    Time(u64),
}

impl Signer {
    /// Makes the key of a seed. The seed is 32 bytes from a cryptographic source of randomness.
    ///
    /// # Errors
    /// When the name is none.
    pub fn from_seed(name: &str, seed: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Ok(Self { pair: Pair::from_seed(name, Algorithm::Ed25519, seed)? })
    }

    /// Reads a signer's key.
    ///
    /// # Errors
    /// When it is none, or not one of [`Algorithm::Ed25519`].
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        Ok(Self { pair: Pair::parse(key, Algorithm::Ed25519)? })
    }

    /// Writes the signer's key of a seed. Whoever has it can sign.
    ///
    /// # Errors
    /// When the name is none.
    pub fn encode(name: &str, seed: &[u8; KEY_BYTES]) -> Result<String, KeyError> {
        Pair::encode(name, Algorithm::Ed25519, seed)
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.pair.verifier
    }

    /// Signs a note's text.
    ///
    /// # Errors
    /// When the text is none, or begins like a cosignature's message.
    pub fn sign(&self, text: &str) -> Result<Signature, SignError> {
        if !text.ends_with('\n') || !text::is_clean(text) {
            return Err(SignError::Text);
        }
        if text.starts_with(COSIGNATURE_HEADER) {
            return Err(SignError::Cosignature);
        }
        Ok(self.pair.signature(self.pair.sign(text).to_vec()))
    }

    /// Signs a checkpoint. A log must never sign two that are not consistent.
    #[must_use]
    pub fn sign_checkpoint(&self, checkpoint: &Checkpoint) -> Signature {
        // Its second line is a size: it cannot be taken for a cosignature's message.
        self.pair.signature(self.pair.sign(&checkpoint.text()).to_vec())
    }
}

/// A private key that cosigns checkpoints: a witness's. Its secret is not shown.
#[derive(Debug)]
pub struct Cosigner {
    pair: Pair,
}

impl Cosigner {
    /// Makes the key of a seed. A seed serves one witness only: the message does not hold the witness's name.
    ///
    /// # Errors
    /// When the name is none.
    pub fn from_seed(name: &str, seed: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Ok(Self { pair: Pair::from_seed(name, Algorithm::Ed25519Cosignature, seed)? })
    }

    /// Reads a signer's key.
    ///
    /// # Errors
    /// When it is none, or not one of [`Algorithm::Ed25519Cosignature`].
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        Ok(Self { pair: Pair::parse(key, Algorithm::Ed25519Cosignature)? })
    }

    /// Writes the signer's key of a seed. Whoever has it can sign.
    ///
    /// # Errors
    /// When the name is none.
    pub fn encode(name: &str, seed: &[u8; KEY_BYTES]) -> Result<String, KeyError> {
        Pair::encode(name, Algorithm::Ed25519Cosignature, seed)
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.pair.verifier
    }

    /// States that, at `time_s` seconds since 1970 UTC, this is the largest tree of its log that was seen, and that it
    /// is consistent with all that were seen before. Whoever calls this must know that: see [`crate::Witness`].
    ///
    /// # Errors
    /// When the time is beyond 2^63 − 1.
    pub fn cosign(&self, checkpoint: &Checkpoint, time_s: u64) -> Result<Signature, SignError> {
        if time_s > SIZE_MAX {
            return Err(SignError::Time(time_s));
        }
        let mut bytes = time_s.to_be_bytes().to_vec();
        bytes.extend(self.pair.sign(&cosigned_message(time_s, &checkpoint.text())));
        Ok(self.pair.signature(bytes))
    }
}

/// An Ed25519 key pair with its public name.
struct Pair {
    verifier: VerifierKey,
    secret: Ed25519KeyPair,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the private key of {}", self.verifier)
    }
}

impl Pair {
    fn from_seed(
        name: &str,
        algorithm: Algorithm,
        seed: &[u8; KEY_BYTES],
    ) -> Result<Self, KeyError> {
        let secret = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
        let public = secret.public_key().as_ref().try_into().expect("a public key has 32 bytes");
        Ok(Self { verifier: VerifierKey::new(name, algorithm, public)?, secret })
    }

    fn parse(key: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let public_part = key.strip_prefix("PRIVATE+KEY+");
        let public_part = public_part.ok_or(KeyError::Form("it does not begin PRIVATE+KEY+"))?;
        let parts = KeyText::parse(public_part)?;
        if parts.algorithm != algorithm {
            return Err(KeyError::Form("it is a key of another algorithm"));
        }
        let pair = Self::from_seed(parts.name, algorithm, &parts.bytes()?)?;
        parts.check_id(pair.verifier.id)?;
        Ok(pair)
    }

    fn encode(
        name: &str,
        algorithm: Algorithm,
        seed: &[u8; KEY_BYTES],
    ) -> Result<String, KeyError> {
        let id = Self::from_seed(name, algorithm, seed)?.verifier.id;
        Ok(format!("PRIVATE+KEY+{name}+{id:08x}+{}", tagged(algorithm, seed)))
    }

    fn sign(&self, message: &str) -> [u8; SIGNATURE_BYTES] {
        let signature = self.secret.sign(message.as_bytes());
        signature.as_ref().try_into().expect("a signature has 64 bytes")
    }

    fn signature(&self, bytes: Vec<u8>) -> Signature {
        Signature::of(self.verifier.name.clone(), self.verifier.id, bytes)
    }
}

/// The parts of a key's text, before anything is known of the key.
struct KeyText<'a> {
    name: &'a str,
    id: u32,
    algorithm: Algorithm,
    body: Vec<u8>,
}

impl<'a> KeyText<'a> {
    fn parse(key: &'a str) -> Result<Self, KeyError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(KeyError::Form("it is too long"));
        }
        // Base64 has pluses of its own; a name has none.
        let mut parts = key.splitn(3, '+');
        let (Some(name), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form("it is not name+id+key"));
        };
        let id =
            text::key_id(id).ok_or(KeyError::Form("its id is not eight hexadecimal digits"))?;
        let body = text::bytes(body).ok_or(KeyError::Form("its bytes are not base64"))?;
        let (byte, body) = body.split_first().ok_or(KeyError::Form("it has no bytes"))?;
        Ok(Self { name, id, algorithm: Algorithm::from_byte(*byte)?, body: body.to_vec() })
    }

    fn bytes(&self) -> Result<[u8; KEY_BYTES], KeyError> {
        match self.algorithm {
            Algorithm::Ed25519 | Algorithm::Ed25519Cosignature => {
                let bytes = self.body.as_slice().try_into().ok();
                bytes.ok_or(KeyError::Form("an Ed25519 key has 32 bytes"))
            }
            Algorithm::MlDsa44Cosignature => Err(KeyError::NotSupported(self.algorithm)),
        }
    }

    fn check_id(&self, expected: u32) -> Result<(), KeyError> {
        if self.id == expected { Ok(()) } else { Err(KeyError::Id { expected, found: self.id }) }
    }
}

/// Whether text may be a key's name.
pub(crate) fn is_key_name(name: &str) -> bool {
    let allowed =
        |character: char| !character.is_whitespace() && character != '+' && character >= ' ';
    (1..=KEY_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed)
}

/// What a cosigner signs.
fn cosigned_message(time_s: u64, text: &str) -> String {
    format!("{COSIGNATURE_HEADER}time {time_s}\n{text}")
}

fn key_id(name: &str, algorithm: Algorithm, public: &[u8]) -> u32 {
    let state = Sha256::new().chain_update(name).chain_update([b'\n', algorithm.byte()]);
    let digest: [u8; 32] = state.chain_update(public).finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

fn tagged(algorithm: Algorithm, key: &[u8]) -> String {
    let mut bytes = vec![algorithm.byte()];
    bytes.extend_from_slice(key);
    text::base64(bytes)
}
