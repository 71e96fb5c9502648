//! Reads and makes the keys of gossip. Which keys the Secret has, and when, is decided by the plan.

use aws_lc_rs::{hmac, rand};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use lograft_crds::limits::GOSSIP_KEYS_MAX_COUNT;
use lograft_operator_desired::cluster::{
    GOSSIP_KEYS_FIELD, GossipKeyPlan, GossipKeySource, GossipKeyState, ObservedGossipKeys,
};

use crate::pki::hex;

/// Length of a key; the data plane's.
const KEY_BYTES: usize = 32;
/// Length of a key's id; the data plane's.
const ID_BYTES: usize = 4;

/// Why keys could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GossipKeysError {
    /// The random numbers of the system failed.
    #[error("cannot draw a random gossip key")]
    Random,
    /// The plan keeps a key that does not exist.
    #[error("gossip key {0} must be in the Secret, and is not")]
    Missing(usize),
}

/// The keys in a Secret; none if nodes could not use them. `scope` names the cluster.
pub(crate) fn observe(secret: &Secret, scope: &str) -> Option<ObservedGossipKeys> {
    let text = text_of(secret)?;
    let keys = keys_of(&text)?;
    Some(ObservedGossipKeys {
        ids: keys.iter().map(|key| id(key, scope)).collect(),
        state: GossipKeyState::parse(&text),
    })
}

/// The planned Secret with its keys. `live` is the existing one.
pub(crate) fn fill(plan: &GossipKeyPlan, live: Option<&Secret>) -> Result<Secret, GossipKeysError> {
    let existing = live.and_then(text_of).and_then(|text| keys_of(&text));
    let existing = existing.unwrap_or_default();
    let mut text = plan.state.to_string();
    for source in &plan.keys {
        let key = match source {
            GossipKeySource::New => random()?,
            GossipKeySource::Kept(at) => *existing.get(*at).ok_or(GossipKeysError::Missing(*at))?,
        };
        text.push_str(&hex(&key));
        text.push('\n');
    }
    let mut secret = plan.object.clone();
    let data = (GOSSIP_KEYS_FIELD.to_owned(), ByteString(text.into_bytes()));
    secret.data = Some([data].into());
    Ok(secret)
}

fn text_of(secret: &Secret) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(GOSSIP_KEYS_FIELD)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// One or two keys, one per line. As in the data plane, empty lines and comments are ignored.
fn keys_of(text: &str) -> Option<Vec<[u8; KEY_BYTES]>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Option<Vec<_>> = lines.map(from_hex).collect();
    keys.filter(|keys| (1..=GOSSIP_KEYS_MAX_COUNT).contains(&keys.len()))
}

fn from_hex(line: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = line.as_bytes();
    let mut key = [0; KEY_BYTES];
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(key)
}

/// The id by which a node reports a key: the start of HMAC-SHA-256 of the cluster's scope.
fn id(key: &[u8; KEY_BYTES], scope: &str) -> String {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&mac, format!("lograft gossip key id\0{scope}").as_bytes());
    hex(&tag.as_ref()[..ID_BYTES])
}

fn random() -> Result<[u8; KEY_BYTES], GossipKeysError> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| GossipKeysError::Random)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "lograft.io/ns/prod/cluster/events";

    fn plan(keys: &[GossipKeySource]) -> GossipKeyPlan {
        GossipKeyPlan {
            object: Secret::default(),
            keys: keys.to_vec(),
            state: GossipKeyState {
                changed: 7,
                ..GossipKeyState::default()
            },
        }
    }

    fn ids(secret: &Secret) -> Vec<String> {
        observe(secret, SCOPE).unwrap().ids
    }

    #[test]
    fn keys_are_new_or_kept_in_their_order() {
        use GossipKeySource::{Kept, New};
        let one = fill(&plan(&[New]), None).unwrap();
        let two = fill(&plan(&[Kept(0), New]), Some(&one)).unwrap();
        let swapped = fill(&plan(&[Kept(1), Kept(0)]), Some(&two)).unwrap();
        let last = fill(&plan(&[Kept(0)]), Some(&swapped)).unwrap();
        let (first, both) = (ids(&one), ids(&two));
        assert_eq!(first[0], both[0]);
        assert_ne!(both[0], both[1]);
        assert_eq!(ids(&swapped), [both[1].clone(), both[0].clone()]);
        assert_eq!(ids(&last), [both[1].clone()]);
        assert_eq!(observe(&last, SCOPE).unwrap().state.changed, 7);
        assert!(fill(&plan(&[Kept(1)]), Some(&one)).is_err());
    }

    /// The data plane has the same test: an id that it computes differently would never be found.
    #[test]
    fn the_id_of_a_key_is_that_of_the_data_plane() {
        let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(id(&key, SCOPE), "08397d33");
    }

    #[test]
    fn what_a_node_would_refuse_is_no_key() {
        let secret = |text: &str| Secret {
            data: Some([(GOSSIP_KEYS_FIELD.to_owned(), ByteString(text.into()))].into()),
            ..Secret::default()
        };
        let key = "ab".repeat(32);
        assert!(observe(&secret(&format!("# c\n\n {key} \n{key}")), SCOPE).is_some());
        let long = format!("{key}ab");
        let three = format!("{key}\n{key}\n{key}");
        for text in ["", "# c", "ab", &long, &key.replace('a', "x"), &three] {
            assert_eq!(observe(&secret(text), SCOPE), None, "{text}");
        }
        assert_eq!(observe(&Secret::default(), SCOPE), None);
    }
}
