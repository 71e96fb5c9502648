//! Gossip over sockets on loopback, or over a simulated network where addresses matter.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lograft_core::limits::GOSSIP_FORGET_MAX;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Harness;
use crate::facts::NodeFacts;
use crate::gossip::{
    Gossip, GossipInputs, GossipKeys, GossipLoop, GossipNode, GossipSeed, OwnState, key_file_text,
};
use crate::net::{BoxFuture, DatagramNet as _, DatagramSocket, SystemNet};
use crate::source::{Sighting, Sightings, Source as _};

type Inbox = mpsc::Sender<(Vec<u8>, SocketAddr)>;

/// A network in memory.
#[derive(Clone, Default)]
struct Switch(Arc<Mutex<Ports>>);

#[derive(Default)]
struct Ports {
    inboxes: BTreeMap<SocketAddr, Inbox>,
    is_down: bool,
}

struct Port {
    switch: Switch,
    address: SocketAddr,
    inbox: tokio::sync::Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>,
}

impl Switch {
    fn bind(&self, address: SocketAddr) -> Box<dyn DatagramSocket> {
        let (sender, inbox) = mpsc::channel(1024);
        self.0.lock().unwrap().inboxes.insert(address, sender);
        Box::new(Port {
            switch: self.clone(),
            address,
            inbox: inbox.into(),
        })
    }
}

impl DatagramSocket for Port {
    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let ports = self.switch.0.lock().unwrap();
        if let Some(inbox) = ports.inboxes.get(&to).filter(|_| !ports.is_down) {
            // A full inbox loses datagrams, as sockets do.
            let _ = inbox.try_send((bytes.to_vec(), self.address));
        }
        Ok(())
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            let received = self.inbox.lock().await.recv().await;
            let (bytes, from) = received.ok_or(io::ErrorKind::BrokenPipe)?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok((bytes.len(), from))
        })
    }
}

/// A node that gossips.
struct Gossiping {
    gossip: Gossip,
    own: watch::Sender<OwnState>,
    keys: watch::Sender<GossipKeys>,
    task: JoinHandle<()>,
}

impl Drop for Gossiping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn keys(numbers: &[u8]) -> GossipKeys {
    let text: String = numbers.iter().map(|n| key_file_text(&[*n; 32])).collect();
    GossipKeys::parse(&text, "lograft.io/ns/prod/cluster/main").unwrap()
}

fn gossiping(
    name: &str,
    incarnation: u64,
    peer: SocketAddr,
    (socket, seed): (Box<dyn DatagramSocket>, Option<SocketAddr>),
) -> Gossiping {
    let facts = NodeFacts {
        incarnation,
        peer_address: peer.to_string().into(),
        ..NodeFacts::default()
    };
    let random = u64::from(peer.port()) << 8 | incarnation;
    let session = random ^ u64::from_le_bytes(name.repeat(8).as_bytes()[..8].try_into().unwrap());
    let random_numbers = GossipSeed {
        session,
        choices: session,
    };
    let node = GossipNode::new(name.into(), facts.clone(), keys(&[1]), random_numbers).unwrap();
    let (own, own_watched) = watch::channel(OwnState {
        cluster: None,
        facts,
    });
    let (keys, keys_watched) = watch::channel(keys(&[1]));
    let items = seed.map(|seed| Sighting {
        name: None,
        addresses: vec![seed.to_string().into()],
        gossip: None,
    });
    let start_from = Sightings {
        items: items.into_iter().collect(),
        error: None,
    };
    let inputs = GossipInputs {
        own: own_watched,
        keys: keys_watched,
        seeds: watch::channel(Arc::new(start_from)).1,
        wall_clock_ms: Arc::new(|| 1_800_000_000_000),
    };
    let (run, gossip) = GossipLoop::new(name.into(), node, socket, inputs);
    Gossiping {
        gossip,
        own,
        keys,
        task: tokio::spawn(run.run()),
    }
}

struct GossipHarness {
    switch: Switch,
    observer: Gossiping,
    others: BTreeMap<String, Gossiping>,
    incarnation: u64,
}

fn gossip_port(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip(), 9404)
}

impl Harness for GossipHarness {
    type Source = Gossip;

    fn source(&self) -> &Gossip {
        &self.observer.gossip
    }

    async fn appear(&mut self, name: &str, at: SocketAddr) {
        self.incarnation += 1;
        self.others.remove(name);
        let socket = self.switch.bind(gossip_port(at));
        let seed = Some(gossip_port(super::address(99)));
        let node = gossiping(name, self.incarnation, at, (socket, seed));
        self.others.insert(name.to_owned(), node);
    }

    async fn vanish(&mut self, name: &str) {
        self.others.remove(name);
    }

    async fn set_readable(&mut self, readable: bool) {
        self.switch.0.lock().unwrap().is_down = !readable;
    }

    fn vanish_max(&self) -> Duration {
        GOSSIP_FORGET_MAX * 11 / 10
    }
}

#[tokio::test(start_paused = true)]
async fn gossip_conforms() {
    let switch = Switch::default();
    let at = super::address(99);
    let socket = switch.bind(gossip_port(at));
    super::run(GossipHarness {
        observer: gossiping("observer", 1, at, (socket, None)),
        switch,
        others: BTreeMap::new(),
        incarnation: 0,
    })
    .await;
}

async fn until(gossip: &Gossip, what: &str, mut done: impl FnMut(&Sightings) -> bool) {
    let mut seen = gossip.sightings();
    let waited = tokio::time::timeout(Duration::from_secs(10), seen.wait_for(|now| done(now)));
    assert!(waited.await.is_ok(), "{what}");
}

/// Real sockets, IPv4 and IPv6: the addresses that others see are learned from the datagrams.
#[tokio::test]
async fn nodes_on_loopback_find_each_other_and_follow_facts_and_keys() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let any: SocketAddr = any.parse().unwrap();
        let bind = async || SystemNet.bind(any).await.unwrap();
        let (first, second) = (bind().await, bind().await);
        let seed = first.local_address().unwrap();
        let peer = |port| SocketAddr::new(any.ip(), port);
        let one = gossiping("one", 1, peer(1), (first, None));
        let two = gossiping("two", 1, peer(2), (second, Some(seed)));
        let finds = |at: SocketAddr| {
            let at: Arc<str> = at.to_string().into();
            move |now: &Sightings| now.items.iter().any(|item| item.addresses.contains(&at))
        };
        until(&one.gossip, "one sees two", finds(peer(2))).await;
        until(&two.gossip, "two sees one", finds(peer(1))).await;
        two.own.send_modify(|own| own.facts.leaders_count = 7);
        until(&one.gossip, "a changed fact", |now| {
            let gossip = now.items[0].gossip.as_ref().unwrap();
            gossip.facts.leaders_count == 7
        })
        .await;
        for step in [&[1, 2][..], &[2, 1], &[2]] {
            one.keys.send_replace(keys(step));
            two.keys.send_replace(keys(step));
        }
        two.own.send_modify(|own| own.facts.leaders_count = 8);
        until(&one.gossip, "a fact under the new key", |now| {
            let gossip = now.items[0].gossip.as_ref().unwrap();
            gossip.facts.leaders_count == 8
        })
        .await;
        assert!(one.gossip.report().counters.received_count > 0);
    }
}
