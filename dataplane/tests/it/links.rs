//! The network between the nodes of a test, with links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use lograft_node::net::{BoxFuture, BoxIo, Listener, Net, TcpNet};
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 64 * 1024;

/// All links. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Links(Arc<State>);

#[derive(Default)]
struct State {
    /// The nodes by their peer port.
    ports: Mutex<BTreeMap<u16, usize>>,
    /// The nodes that are cut off from all others.
    cut: watch::Sender<BTreeSet<usize>>,
}

impl Links {
    /// The network of the node at a place.
    pub(crate) fn of(&self, at: usize) -> Arc<dyn Net> {
        Arc::new(NodeNet {
            links: self.clone(),
            at,
        })
    }

    /// Says where a node takes connections of the others.
    pub(crate) fn register(&self, at: usize, peer: SocketAddr) {
        self.0.ports.lock().unwrap().insert(peer.port(), at);
    }

    /// Cuts a node off from all others: their connections break, and no new ones are made. Clients
    /// reach it still.
    pub(crate) fn cut(&self, at: usize) {
        self.0.cut.send_modify(|cut| {
            cut.insert(at);
        });
    }

    /// Connects a node again.
    pub(crate) fn mend(&self, at: usize) {
        self.0.cut.send_modify(|cut| {
            cut.remove(&at);
        });
    }

    /// The place of the node at `host:port`, if one is there.
    fn place(&self, address: &str) -> Option<usize> {
        let port = address.rsplit_once(':')?.1.parse().ok()?;
        self.0.ports.lock().unwrap().get(&port).copied()
    }
}

struct NodeNet {
    links: Links,
    at: usize,
}

impl Net for NodeNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        TcpNet.listen(address)
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let ends = [Some(self.at), self.links.place(address)];
            let mut cut = self.links.0.cut.subscribe();
            let is_cut = move |cut: &BTreeSet<usize>| {
                ends[0] != ends[1] && ends.iter().flatten().any(|at| cut.contains(at))
            };
            if is_cut(&cut.borrow_and_update()) {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            let mut far = TcpNet.connect(address).await?;
            let (near, mut inner) = duplex(BUFFER_BYTES);
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut inner, &mut far) => {}
                    _ = cut.wait_for(is_cut) => {}
                }
            });
            Ok(Box::new(near) as BoxIo)
        })
    }
}
