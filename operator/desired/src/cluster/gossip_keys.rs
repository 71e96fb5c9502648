//! The Secret with the keys of gossip: what is seen of it, and what is written into it. The keys
//! themselves and randomness belong to the operator.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;

/// Field of the keys in the Secret, in the form of the node's key file: one key per line, comments
/// start with `#`. The state of a replacement is in comments.
pub const GOSSIP_KEYS_FIELD: &str = "keys";

/// The keys in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedGossipKeys {
    /// Ids of the keys as nodes report them, in order: nodes send with the first one.
    pub ids: Vec<String>,
    /// The state of their replacement.
    pub state: GossipKeyState,
}

/// The state of a replacement of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipKeyState {
    /// Whether the first of two keys is the new one: then the other one can go.
    pub is_promoted: bool,
    /// When the keys were written, seconds since 1970; 0 if somebody else wrote them.
    pub changed: i64,
    /// Hash of the annotation that asked for the last replacement; empty if there was none.
    pub request: String,
}

const PROMOTED: &str = "# promoted";
const CHANGED: &str = "# changed ";
const REQUEST: &str = "# request ";

impl GossipKeyState {
    /// The state in the comments of a key file.
    pub fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for line in text.lines().map(str::trim) {
            if line == PROMOTED {
                state.is_promoted = true;
            } else if let Some(time) = line.strip_prefix(CHANGED) {
                state.changed = time.parse().unwrap_or(0);
            } else if let Some(hash) = line.strip_prefix(REQUEST) {
                hash.clone_into(&mut state.request);
            }
        }
        state
    }
}

/// The comments of a key file.
impl fmt::Display for GossipKeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            is_promoted,
            changed,
            request,
        } = self;
        writeln!(f, "{CHANGED}{changed}")?;
        if *is_promoted {
            writeln!(f, "{PROMOTED}")?;
        }
        if !request.is_empty() {
            writeln!(f, "{REQUEST}{request}")?;
        }
        Ok(())
    }
}

/// The Secret to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GossipKeyPlan {
    /// The object without data.
    pub object: Secret,
    /// The keys in order.
    pub keys: Vec<GossipKeySource>,
    /// The state to write.
    pub state: GossipKeyState,
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipKeySource {
    /// A new key.
    New,
    /// The key at this place in the existing Secret, from 0.
    Kept(usize),
}

impl GossipKeyPlan {
    /// Name of the Secret.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_state_is_read_and_keys_are_no_state() {
        for is_promoted in [false, true] {
            for request in ["", "0123456789abcdef"] {
                let state = GossipKeyState {
                    is_promoted,
                    changed: 1_800_000_000,
                    request: request.to_owned(),
                };
                let text = format!("{state}{}\n", "ab".repeat(32));
                assert_eq!(GossipKeyState::parse(&text), state);
            }
        }
        let foreign = GossipKeyState::parse("# a key of mine\n# changed soon\nabcd\n");
        assert_eq!(foreign, GossipKeyState::default());
    }
}
