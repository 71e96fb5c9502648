//! Gossip messages, below the encryption.
//!
//! ```text
//! kind u8 | sender name | sender stamp | sent ms | cluster id 16 bytes, or zeros |
//! observed address (text) | window from (text) | window to (text) | items
//! item: tag u8 | length varint | bytes
//! ```
//!
//! An item with an unknown tag is skipped, so that a newer version may add kinds of items.

use std::net::SocketAddr;
use std::sync::Arc;

use lograft_core::ClusterId;
use lograft_core::limits::{
    GOSSIP_DATAGRAM_MAX_BYTES, NODE_ADDRESS_MAX_BYTES, NODE_NAME_MAX_BYTES,
};
use lograft_core::varint;

use super::seal::SEAL_OVERHEAD_BYTES;
use crate::facts::{NodeName, put_text, take_byte, take_text};

/// Room for a message in a datagram, in bytes.
pub(crate) const MESSAGE_ROOM_BYTES: usize = GOSSIP_DATAGRAM_MAX_BYTES - SEAL_OVERHEAD_BYTES;

/// More than a name's length and a stamp take.
const STAMP_BYTES: usize = 34;

const TAG_STAMP: u8 = 1;
const TAG_WANT: u8 = 2;
const TAG_ENTRY: u8 = 3;
const TAG_MORE: u8 = 4;

/// The purpose of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opens an exchange: the stamps of a window of names.
    Syn,
    /// Answers it: newer heartbeats, missing entries, wanted names.
    Ack,
    /// Entries: wanted by the receiver, or changed.
    Push,
}

/// The order of what a node says: the generation is raised with each start, the version with each
/// change of its facts, the heartbeat with each round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) generation: u64,
    pub(crate) version: u64,
    pub(crate) heartbeat: u64,
}

impl Stamp {
    /// The order of the facts, whatever the heartbeat.
    pub(crate) const fn facts(self) -> (u64, u64) {
        (self.generation, self.version)
    }

    fn put(self, out: &mut Vec<u8>) {
        for number in [self.generation, self.version, self.heartbeat] {
            varint::put(out, number);
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(Self {
            generation: varint::take(input)?,
            version: varint::take(input)?,
            heartbeat: varint::take(input)?,
        })
    }
}

/// A node with its encoded facts, which are passed on as they were received: a newer version may
/// have put more into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: NodeName,
    pub(crate) stamp: Stamp,
    /// Time since the sender learned of the last heartbeat, milliseconds.
    pub(crate) silent_ms: u64,
    pub(crate) facts: Arc<[u8]>,
}

/// A range of names: from the first one, inclusive, to the last one, exclusive. An empty bound is
/// no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: NodeName,
    pub(crate) to: NodeName,
}

impl Window {
    /// No name at all. (No name sorts before itself.)
    pub(crate) fn nothing() -> Self {
        Self {
            from: "-".into(),
            to: "-".into(),
        }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        *self.from <= *name && (self.to.is_empty() || *name < *self.to)
    }
}

/// The sender of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) name: NodeName,
    pub(crate) stamp: Stamp,
    pub(crate) sent_ms: u64,
    pub(crate) cluster: Option<ClusterId>,
}

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) sender: Sender,
    /// The receiver's address, as the sender sees it.
    pub(crate) observed: Option<SocketAddr>,
    pub(crate) window: Window,
    pub(crate) stamps: Vec<(NodeName, Stamp)>,
    pub(crate) wants: Vec<NodeName>,
    pub(crate) entries: Vec<Entry>,
    /// Whether the sender had more to say than fits into a datagram.
    pub(crate) has_more: bool,
}

/// Encodes a message up to the size of a datagram.
pub(crate) struct MessageWriter {
    out: Vec<u8>,
    is_full: bool,
}

impl MessageWriter {
    pub(crate) fn new(
        kind: Kind,
        sender: &Sender,
        observed: Option<SocketAddr>,
        window: &Window,
    ) -> Self {
        let mut out = Vec::with_capacity(MESSAGE_ROOM_BYTES);
        out.push(match kind {
            Kind::Syn => 1,
            Kind::Ack => 2,
            Kind::Push => 3,
        });
        put_text(&mut out, &sender.name);
        sender.stamp.put(&mut out);
        varint::put(&mut out, sender.sent_ms);
        out.extend(sender.cluster.map_or([0; 16], ClusterId::to_bytes));
        let observed = observed.map(|address| address.to_string());
        put_text(&mut out, observed.as_deref().unwrap_or_default());
        put_text(&mut out, &window.from);
        put_text(&mut out, &window.to);
        Self {
            out,
            is_full: false,
        }
    }

    /// Appends an item, and returns whether it fitted. The first item that does not fit ends the
    /// message: smaller ones behind it wait too, or large ones would never be sent.
    fn put(&mut self, tag: u8, bytes: &[u8]) -> bool {
        if self.is_full || !self.has_room(bytes.len()) {
            self.is_full = true;
            return false;
        }
        self.out.push(tag);
        varint::put(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        true
    }

    fn has_room(&self, bytes: usize) -> bool {
        // Tag, length and the mark that there is more.
        self.out.len() + bytes + 5 <= MESSAGE_ROOM_BYTES
    }

    /// Appends a stamp, or leaves it out without a mark that there is more.
    pub(crate) fn stamp_if_room(&mut self, name: &str, stamp: Stamp) {
        if self.has_room(name.len() + STAMP_BYTES) {
            self.stamp(name, stamp);
        }
    }

    pub(crate) fn stamp(&mut self, name: &str, stamp: Stamp) -> bool {
        let mut item = Vec::with_capacity(name.len() + 24);
        put_text(&mut item, name);
        stamp.put(&mut item);
        self.put(TAG_STAMP, &item)
    }

    pub(crate) fn want(&mut self, name: &str) -> bool {
        let mut item = Vec::with_capacity(name.len() + 2);
        put_text(&mut item, name);
        self.put(TAG_WANT, &item)
    }

    pub(crate) fn entry(&mut self, entry: &Entry) -> bool {
        let mut item = Vec::with_capacity(entry.facts.len() + entry.name.len() + 48);
        put_text(&mut item, &entry.name);
        entry.stamp.put(&mut item);
        varint::put(&mut item, entry.silent_ms);
        item.extend_from_slice(&entry.facts);
        self.put(TAG_ENTRY, &item)
    }

    /// The encoded message, at most [`MESSAGE_ROOM_BYTES`].
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.is_full {
            self.out.extend([TAG_MORE, 0]);
        }
        self.out
    }
}

impl Message {
    /// Decodes a message; `None` if it is malformed.
    pub(crate) fn decode(mut input: &[u8]) -> Option<Self> {
        let input = &mut input;
        let kind = match take_byte(input)? {
            1 => Kind::Syn,
            2 => Kind::Ack,
            3 => Kind::Push,
            _ => return None,
        };
        let name = take_name(input)?;
        let (stamp, sent_ms) = (Stamp::take(input)?, varint::take(input)?);
        let (cluster, rest) = input.split_first_chunk::<16>()?;
        *input = rest;
        let cluster = (*cluster != [0; 16]).then(|| ClusterId::from_bytes(*cluster));
        let observed = take_text(input, NODE_ADDRESS_MAX_BYTES)?;
        let mut message = Self {
            kind,
            sender: Sender {
                name,
                stamp,
                sent_ms,
                cluster,
            },
            observed: observed.parse().ok(),
            window: Window {
                from: take_text(input, NODE_NAME_MAX_BYTES)?.into(),
                to: take_text(input, NODE_NAME_MAX_BYTES)?.into(),
            },
            stamps: Vec::new(),
            wants: Vec::new(),
            entries: Vec::new(),
            has_more: false,
        };
        while !input.is_empty() {
            message.take_item(input)?;
        }
        Some(message)
    }

    fn take_item(&mut self, input: &mut &[u8]) -> Option<()> {
        let tag = take_byte(input)?;
        let len = usize::try_from(varint::take(input)?).ok()?;
        let (mut item, rest) = input.split_at_checked(len)?;
        *input = rest;
        let item = &mut item;
        match tag {
            TAG_STAMP => self.stamps.push((take_name(item)?, Stamp::take(item)?)),
            TAG_WANT => self.wants.push(take_name(item)?),
            TAG_ENTRY => self.entries.push(Entry {
                name: take_name(item)?,
                stamp: Stamp::take(item)?,
                silent_ms: varint::take(item)?,
                facts: Arc::from(*item),
            }),
            TAG_MORE => self.has_more = true,
            _ => {}
        }
        Some(())
    }
}

fn take_name(input: &mut &[u8]) -> Option<NodeName> {
    let name = take_text(input, NODE_NAME_MAX_BYTES)?;
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use lograft_core::limits::GOSSIP_FACTS_MAX_BYTES;
    use proptest::prelude::*;

    use super::*;
    use crate::facts::NodeFacts;
    use crate::fuzz::run;
    use crate::gossip::seal::Sealer;
    use crate::gossip::seal::tests::keys;

    const LARGEST: Stamp = Stamp {
        generation: u64::MAX,
        version: u64::MAX,
        heartbeat: u64::MAX,
    };

    fn sender(name: &str) -> Sender {
        Sender {
            name: name.into(),
            stamp: LARGEST,
            sent_ms: u64::MAX,
            cluster: Some(ClusterId::from_bytes([7; 16])),
        }
    }

    #[test]
    fn the_largest_entry_fits_beside_the_longest_names() {
        let name: NodeName = "n".repeat(NODE_NAME_MAX_BYTES).into();
        let entry = Entry {
            name: Arc::clone(&name),
            stamp: LARGEST,
            silent_ms: u64::MAX,
            facts: vec![1; GOSSIP_FACTS_MAX_BYTES].into(),
        };
        let observed = Some(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                .parse()
                .unwrap(),
        );
        let window = Window::nothing();
        let mut writer = MessageWriter::new(Kind::Push, &sender(&name), observed, &window);
        assert!(writer.entry(&entry));
        assert!(!writer.entry(&entry), "a second one cannot fit");
        let bytes = writer.finish();
        assert!(bytes.len() <= MESSAGE_ROOM_BYTES);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.entries, [entry]);
        assert_eq!(message.observed, observed);
        assert!(message.has_more);
    }

    #[test]
    fn a_window_of_the_longest_names_holds_at_least_one() {
        let name: NodeName = "n".repeat(NODE_NAME_MAX_BYTES).into();
        let window = Window {
            from: Arc::clone(&name),
            to: Arc::clone(&name),
        };
        let mut writer = MessageWriter::new(Kind::Syn, &sender(&name), None, &window);
        assert!(writer.stamp(&name, LARGEST));
    }

    #[test]
    fn an_unknown_item_of_a_newer_version_is_skipped() {
        let window = Window::nothing();
        let mut writer = MessageWriter::new(Kind::Ack, &sender("a"), None, &window);
        assert!(writer.put(200, b"newer") && writer.want("b"));
        let message = Message::decode(&writer.finish()).unwrap();
        assert_eq!(message.wants, ["b".into()]);
    }

    /// Datagrams before they are known to be authentic, and messages of a node of the cluster.
    #[test]
    fn datagrams_and_messages_of_any_bytes_neither_panic_nor_grow() {
        let keys = keys(&[1, 2]);
        let mut sealer = Sealer::new(7);
        let window = Window::nothing();
        let entry = Entry {
            name: "b".into(),
            stamp: LARGEST,
            silent_ms: 5,
            facts: vec![1; 200].into(),
        };
        let mut writer = MessageWriter::new(Kind::Push, &sender("a"), None, &window);
        assert!(writer.entry(&entry) && writer.want("c"));
        let message = writer.finish();
        let datagram = sealer.seal(&keys, &message).unwrap();
        run("gossip", |random| {
            let mut garbage = random.mutated(&datagram, 2048);
            if keys.check_header(&garbage).is_ok() {
                let _ = keys.open(&mut garbage);
            }
            let message = random.mutated(&message, 1200);
            if let Some(message) = Message::decode(&message) {
                let facts = message.entries.iter().map(|entry| &entry.facts);
                facts.for_each(|facts| drop(NodeFacts::decode(facts)));
            }
        });
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn a_message_never_exceeds_a_datagram(
            names in prop::collection::vec("[a-z]{1,253}", 0..60),
        ) {
            let window = Window::nothing();
            let mut writer = MessageWriter::new(Kind::Syn, &sender("a"), None, &window);
            let fitted: Vec<_> = names
                .iter()
                .take_while(|name| writer.stamp(name, Stamp::default()))
                .collect();
            let count = fitted.len();
            let bytes = writer.finish();
            prop_assert!(bytes.len() <= MESSAGE_ROOM_BYTES);
            let message = Message::decode(&bytes).unwrap();
            prop_assert_eq!(message.stamps.len(), count);
            prop_assert_eq!(message.has_more, count < names.len());
        }
    }
}
