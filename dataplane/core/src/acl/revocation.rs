//! Certificates that are refused although they are valid: those of a serial number, and those that
//! a principal had before a time.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Principal, RuleError};
use crate::limits::{REVOKED_SERIAL_KEPT_MS, SERIAL_MAX_BYTES};

/// The serial number of a certificate: 1 to `SERIAL_MAX_BYTES` bytes without leading zeros, as
/// lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// The revocations of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationTable {
    /// Revoked serial numbers, each with the end of its certificate, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    serials: BTreeMap<Serial, i64>,
    /// The principals whose certificates are revoked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    principals: BTreeMap<Principal, RevokedBefore>,
}

/// The revocation of a principal's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedBefore {
    /// Certificates are revoked if their validity starts before this time, seconds since the Unix
    /// epoch; `i64::MAX` for a suspended principal.
    pub not_before_s: i64,
    /// The latest end of those certificates, seconds since the Unix epoch: the revocation is
    /// dropped after it. `None` if it is not known; the revocation then stays until it is taken
    /// back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after_s: Option<i64>,
}

impl RevokedBefore {
    /// Whether the principal is suspended: all of its certificates are revoked, also later ones.
    pub const fn is_suspension(&self) -> bool {
        self.not_before_s == i64::MAX
    }

    /// Whether it still revokes a certificate that is valid, as of `now_s`.
    fn is_needed(&self, now_s: i64) -> bool {
        self.is_suspension() || self.not_after_s.is_none_or(|end_s| end_s >= now_s)
    }
}

/// A change of the revocations. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RevocationChange {
    /// Revokes the certificate of a serial number.
    RevokeSerial {
        /// The serial number.
        serial: Serial,
        /// The end of the certificate, seconds since the Unix epoch: the revocation is dropped
        /// after it.
        not_after_s: i64,
    },
    /// Takes back the revocation of a serial number.
    AllowSerial(Serial),
    /// Revokes all certificates of a principal whose validity starts before a time. `i64::MAX`
    /// suspends the principal.
    RevokePrincipal {
        /// The principal.
        principal: Principal,
        /// The time, seconds since the Unix epoch.
        not_before_s: i64,
        /// The latest end of those certificates, seconds since the Unix epoch, if it is known: the
        /// revocation is dropped after it, unless it suspends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_after_s: Option<i64>,
    },
    /// Takes back the revocation of a principal.
    AllowPrincipal(Principal),
}

/// A certificate as revocations see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateId {
    /// The serial number.
    pub serial: Serial,
    /// The start of its validity, seconds since the Unix epoch.
    pub not_before_s: i64,
}

/// Why a certificate is revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// Its serial number is revoked.
    #[error("the certificate with the serial number {0} is revoked")]
    Serial(Serial),
    /// Its principal is suspended.
    #[error("{0} is suspended")]
    Suspended(Principal),
    /// It is older than the certificates that the principal may use.
    #[error("certificates of {principal} that start before {not_before_s} (Unix time) are revoked")]
    Older {
        /// The principal.
        principal: Principal,
        /// The time, seconds since the Unix epoch.
        not_before_s: i64,
    },
}

impl Serial {
    /// The serial number of these bytes, the most significant first.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let first = bytes.iter().position(|byte| *byte != 0);
        let significant = first.and_then(|first| bytes.get(first..)).unwrap_or(&[0]);
        let text = significant.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self(text)
    }
}

impl RevocationTable {
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty() && self.principals.is_empty()
    }

    /// The number of revoked serial numbers, and of principals.
    pub fn counts(&self) -> (usize, usize) {
        (self.serials.len(), self.principals.len())
    }

    /// The revoked serial numbers with the ends of their certificates, seconds since the Unix
    /// epoch.
    pub fn serials(&self) -> impl Iterator<Item = (&Serial, i64)> {
        self.serials.iter().map(|(serial, end_s)| (serial, *end_s))
    }

    /// The principals with their revocations.
    pub fn principals(&self) -> impl Iterator<Item = (&Principal, RevokedBefore)> {
        let all = self.principals.iter();
        all.map(|(principal, revoked)| (principal, *revoked))
    }

    /// Fails if a certificate of a principal is revoked.
    pub fn check(&self, principal: &Principal, id: &CertificateId) -> Result<(), Revoked> {
        if self.serials.contains_key(&id.serial) {
            return Err(Revoked::Serial(id.serial.clone()));
        }
        match self.principals.get(principal) {
            Some(revoked) if revoked.is_suspension() => Err(Revoked::Suspended(principal.clone())),
            Some(revoked) if id.not_before_s < revoked.not_before_s => Err(Revoked::Older {
                principal: principal.clone(),
                not_before_s: revoked.not_before_s,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a change at `now_ms`, and drops the revocations of certificates that expired long
    /// before.
    pub fn change(&mut self, change: &RevocationChange, now_ms: i64) {
        match change {
            RevocationChange::RevokeSerial {
                serial,
                not_after_s,
            } => {
                self.serials.insert(serial.clone(), *not_after_s);
            }
            RevocationChange::AllowSerial(serial) => {
                self.serials.remove(serial);
            }
            RevocationChange::RevokePrincipal {
                principal,
                not_before_s,
                not_after_s,
            } => self.revoke_principal(principal, (*not_before_s, *not_after_s)),
            RevocationChange::AllowPrincipal(principal) => {
                self.principals.remove(principal);
            }
        }
        // The margin covers clocks that differ: a node whose clock is behind would still accept the
        // certificate.
        let expired_s = now_ms.saturating_sub(REVOKED_SERIAL_KEPT_MS) / 1000;
        self.serials
            .retain(|_, not_after_s| *not_after_s >= expired_s);
        self.principals
            .retain(|_, revoked| revoked.is_needed(expired_s));
    }

    /// Revokes a principal. A revocation that it replaces may be for certificates that live longer.
    fn revoke_principal(&mut self, principal: &Principal, new: (i64, Option<i64>)) {
        let (not_before_s, not_after_s) = new;
        let former = self.principals.get(principal);
        let not_after_s = match former {
            None => not_after_s,
            Some(former) => former
                .not_after_s
                .zip(not_after_s)
                .map(|(former_s, new_s)| former_s.max(new_s)),
        };
        let revoked = RevokedBefore {
            not_before_s,
            not_after_s,
        };
        self.principals.insert(principal.clone(), revoked);
    }
}

impl FromStr for Serial {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_canonical = text == "00" || !text.starts_with("00");
        let is_valid = (2..=2 * SERIAL_MAX_BYTES).contains(&text.len())
            && text.len().is_multiple_of(2)
            && is_canonical
            && text.bytes().all(is_digit);
        is_valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| RuleError::serial(text))
    }
}

impl TryFrom<String> for Serial {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
