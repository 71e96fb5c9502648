//! Encryption and authentication of gossip datagrams.
//!
//! ```text
//! magic "LG" | format version u8 | key id 4 bytes | session 7 bytes | sequence 5 bytes |
//! ciphertext | tag 16 bytes
//! ```
//!
//! AES-256-GCM-SIV. The nonce is session and sequence: a sender draws a random session at each
//! start, and counts its datagrams. Should two senders ever draw the same session, this cipher
//! reveals no more than whether two datagrams are equal; plain GCM would reveal its
//! authentication key.
//!
//! The associated data are the header and the scope, the name of the cluster as in the certificates
//! of its nodes. The key id is derived from both, so that a datagram of another cluster or of a
//! retired key is dropped before any decryption.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use lograft_core::limits::{GOSSIP_DATAGRAM_MAX_BYTES, GOSSIP_KEYS_MAX_COUNT};

use super::drops::DropReason;

const MAGIC: [u8; 2] = *b"LG";
const FORMAT: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const SESSION_BYTES: usize = 7;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + KEY_ID_BYTES + NONCE_BYTES;
const SEQUENCE_MAX: u64 = (1 << 40) - 1;

/// Bytes that sealing adds to a message.
pub(crate) const SEAL_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Length of a gossip key, in bytes.
pub const GOSSIP_KEY_BYTES: usize = 32;

/// A sender's session: random, new at each start.
pub(crate) type SessionId = [u8; SESSION_BYTES];

/// Why the text of a key file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GossipKeyError {
    /// A line is no key. The error does not contain it: it may be a secret.
    #[error("line {line} of the gossip key file must be a key of 64 hexadecimal digits")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// There are no keys, or too many.
    #[error("the gossip key file must contain 1 to {GOSSIP_KEYS_MAX_COUNT} keys, got {found}")]
    Count {
        /// The number of keys.
        found: usize,
    },
    /// The cipher refused the key.
    #[error("cannot use the gossip key of line {line}")]
    Refused {
        /// The line, from 1.
        line: usize,
    },
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: LessSafeKey,
}

/// The keys of a cluster: the first one sends, all are accepted.
#[derive(Clone)]
pub struct GossipKeys {
    keys: Arc<[Key]>,
    scope: Arc<str>,
}

impl std::fmt::Debug for GossipKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl PartialEq for GossipKeys {
    fn eq(&self, other: &Self) -> bool {
        self.ids() == other.ids() && self.scope == other.scope
    }
}

impl GossipKeys {
    /// Parses the text of a key file: one key of 64 hexadecimal digits per line, the first one
    /// sends. Empty lines and lines that start with `#` are ignored. `scope` names the cluster.
    pub fn parse(text: &str, scope: &str) -> Result<Self, GossipKeyError> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), at + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = from_hex(line).ok_or(GossipKeyError::Malformed { line: number })?;
            let key = Key::new(&bytes, scope).ok_or(GossipKeyError::Refused { line: number })?;
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > GOSSIP_KEYS_MAX_COUNT {
            let found = keys.len();
            return Err(GossipKeyError::Count { found });
        }
        Ok(Self {
            keys: keys.into(),
            scope: scope.into(),
        })
    }

    /// The ids of the keys in hexadecimal, the sending one first. They reveal nothing of the keys
    /// and differ between clusters.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| to_hex(&key.id)).collect()
    }

    /// Decrypts a datagram in place.
    pub(crate) fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<Opened<'a>, DropReason> {
        let key = self.key_of(datagram)?;
        let (header, sealed) = datagram.split_at_mut(HEADER_BYTES);
        let nonce = &header[HEADER_BYTES - NONCE_BYTES..];
        let (session, sequence) = nonce.split_at(SESSION_BYTES);
        let mut number = [0; 8];
        number[3..].copy_from_slice(sequence);
        let mut id = SessionId::default();
        id.copy_from_slice(session);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DropReason::Garbage)?;
        let aad = self.associated(header);
        let message = key
            .cipher
            .open_in_place(nonce, Aad::from(aad), sealed)
            .map_err(|_| DropReason::Forged)?;
        Ok(Opened {
            session: id,
            sequence: u64::from_be_bytes(number),
            message,
        })
    }

    /// Checks the header alone, without any decryption.
    pub(crate) fn check_header(&self, datagram: &[u8]) -> Result<(), DropReason> {
        self.key_of(datagram).map(|_| ())
    }

    fn key_of(&self, datagram: &[u8]) -> Result<&Key, DropReason> {
        let is_ours = datagram.len() >= SEAL_OVERHEAD_BYTES
            && datagram.len() <= GOSSIP_DATAGRAM_MAX_BYTES
            && datagram.starts_with(&MAGIC);
        if !is_ours {
            return Err(DropReason::Garbage);
        }
        if datagram[MAGIC.len()] != FORMAT {
            return Err(DropReason::UnknownFormat);
        }
        let id = &datagram[MAGIC.len() + 1..][..KEY_ID_BYTES];
        let found = self.keys.iter().find(|key| key.id == *id);
        found.ok_or(DropReason::UnknownKey)
    }

    fn associated(&self, header: &[u8]) -> Vec<u8> {
        [header, self.scope.as_bytes()].concat()
    }
}

/// A datagram that was authenticated.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    pub(crate) message: &'a [u8],
}

impl Key {
    fn new(bytes: &[u8; GOSSIP_KEY_BYTES], scope: &str) -> Option<Self> {
        let cipher = UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?;
        let mac = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let tag = hmac::sign(&mac, format!("lograft gossip key id\0{scope}").as_bytes());
        let id = *tag.as_ref().first_chunk::<KEY_ID_BYTES>()?;
        Some(Self {
            id,
            cipher: LessSafeKey::new(cipher),
        })
    }
}

/// Seals the datagrams of this node.
#[derive(Debug)]
pub(crate) struct Sealer {
    session: SessionId,
    sequence: u64,
}

impl Sealer {
    /// A session of a random number.
    pub(crate) fn new(random: u64) -> Self {
        let mut session = SessionId::default();
        session.copy_from_slice(&random.to_le_bytes()[..SESSION_BYTES]);
        Self {
            session,
            sequence: 0,
        }
    }

    /// Whether a session is this one.
    pub(crate) fn is_session(&self, session: SessionId) -> bool {
        self.session == session
    }

    /// The datagram of a message; `None` if the session has used all its sequence numbers.
    pub(crate) fn seal(&mut self, keys: &GossipKeys, message: &[u8]) -> Option<Vec<u8>> {
        let key = keys.keys.first()?;
        if self.sequence >= SEQUENCE_MAX {
            return None;
        }
        self.sequence += 1;
        let mut out = Vec::with_capacity(message.len() + SEAL_OVERHEAD_BYTES);
        out.extend(MAGIC);
        out.push(FORMAT);
        out.extend(key.id);
        out.extend(self.session);
        out.extend(&self.sequence.to_be_bytes()[3..]);
        let nonce = Nonce::try_assume_unique_for_key(&out[HEADER_BYTES - NONCE_BYTES..]).ok()?;
        let aad = keys.associated(&out);
        let mut sealed = message.to_vec();
        key.cipher
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .ok()?;
        out.extend(sealed);
        Some(out)
    }
}

/// The text of a key file with one key of these random bytes.
pub fn key_file_text(random: &[u8; GOSSIP_KEY_BYTES]) -> String {
    format!("{}\n", to_hex(random))
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; GOSSIP_KEY_BYTES]> {
    let text = text.as_bytes();
    if text.len() != 2 * GOSSIP_KEY_BYTES || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = [0; GOSSIP_KEY_BYTES];
    for (byte, digits) in out.iter_mut().zip(text.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SCOPE: &str = "lograft.io/ns/prod/cluster/main";

    pub(crate) fn text(key: u8) -> String {
        key_file_text(&[key; GOSSIP_KEY_BYTES])
    }

    pub(crate) fn keys(numbers: &[u8]) -> GossipKeys {
        let lines: String = numbers.iter().map(|number| text(*number)).collect();
        GossipKeys::parse(&lines, SCOPE).unwrap()
    }

    /// The operator has the same test: it waits for the ids of the keys that it wrote.
    #[test]
    fn the_id_of_a_key_is_that_of_the_operator() {
        let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let keys = GossipKeys::parse(&key_file_text(&key), "lograft.io/ns/prod/cluster/events");
        assert_eq!(keys.unwrap().ids(), ["08397d33"]);
    }

    #[test]
    fn a_key_file_has_one_or_two_keys_and_comments() {
        let both = format!("# rotation\n\n{}  {}", text(1), text(2));
        assert_eq!(GossipKeys::parse(&both, SCOPE).unwrap(), keys(&[1, 2]));
        let refused = |text: &str| GossipKeys::parse(text, SCOPE).unwrap_err();
        assert_eq!(refused("# none\n"), GossipKeyError::Count { found: 0 });
        let three = [text(1), text(2), text(3)].concat();
        assert_eq!(refused(&three), GossipKeyError::Count { found: 3 });
        let short = format!("{}abc", text(1));
        assert_eq!(refused(&short), GossipKeyError::Malformed { line: 2 });
        let shown = refused(&short).to_string();
        assert!(!shown.contains("abc"), "a secret in an error: {shown}");
        let debug = format!("{:?}", keys(&[1]));
        assert!(!debug.contains(text(1).trim()), "a secret: {debug}");
    }

    #[test]
    fn every_changed_byte_of_a_datagram_is_noticed() {
        let keys = keys(&[1]);
        let mut sealer = Sealer::new(9);
        let datagram = sealer.seal(&keys, b"hello").unwrap();
        let opened = datagram.clone();
        let mut copy = opened;
        let opened = keys.open(&mut copy).unwrap();
        assert_eq!((opened.message, opened.sequence), (&b"hello"[..], 1));
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(keys.open(&mut changed).is_err(), "byte {at}");
        }
        for len in 0..datagram.len() {
            let mut cut = datagram[..len].to_vec();
            assert!(keys.open(&mut cut).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn keys_overlap_during_a_rotation() {
        let mut sealer = Sealer::new(9);
        let steps = [
            (&[1_u8][..], &[1_u8][..]),
            (&[1, 2], &[1]),
            (&[1, 2], &[2, 1]),
            (&[2], &[2, 1]),
            (&[2], &[2]),
        ];
        for (left, right) in steps {
            let (left, right) = (keys(left), keys(right));
            for (from, to) in [(&left, &right), (&right, &left)] {
                let mut datagram = sealer.seal(from, b"x").unwrap();
                assert!(to.open(&mut datagram).is_ok(), "{from:?} -> {to:?}");
            }
        }
        let mut old = sealer.seal(&keys(&[1]), b"x").unwrap();
        let refused = keys(&[2]).open(&mut old).unwrap_err();
        assert_eq!(refused, DropReason::UnknownKey);
    }

    #[test]
    fn the_same_key_does_not_open_the_datagrams_of_another_cluster() {
        let other = GossipKeys::parse(&text(1), "lograft.io/ns/prod/cluster/other").unwrap();
        let mut datagram = Sealer::new(9).seal(&other, b"x").unwrap();
        let refused = keys(&[1]).open(&mut datagram).unwrap_err();
        assert_eq!(refused, DropReason::UnknownKey);
        // Even if the key ids were equal.
        let id = keys(&[1]).keys[0].id;
        datagram[3..7].copy_from_slice(&id);
        let refused = keys(&[1]).open(&mut datagram).unwrap_err();
        assert_eq!(refused, DropReason::Forged);
    }

    #[test]
    fn a_session_never_repeats_a_nonce() {
        let keys = keys(&[1]);
        let mut sealer = Sealer::new(9);
        let nonce = |datagram: &[u8]| datagram[7..19].to_vec();
        let first = sealer.seal(&keys, b"x").unwrap();
        let second = sealer.seal(&keys, b"x").unwrap();
        assert_ne!(nonce(&first), nonce(&second));
        sealer.sequence = SEQUENCE_MAX - 1;
        assert!(sealer.seal(&keys, b"x").is_some());
        assert!(
            sealer.seal(&keys, b"x").is_none(),
            "the sequence must not wrap"
        );
    }
}
