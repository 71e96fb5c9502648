//! The environment of a node.

use std::sync::Arc;

use lograft_core::FeatureLevel;
use lograft_core::capacity::{Capacity, HostLimits};
use lograft_discovery::net::{DatagramNet, Resolver, SystemNet};
use lograft_storage::{Fs, RealFs};
use tokio::sync::watch;

use super::exit_code::EXIT_FATAL;
use crate::clock::{Clock, SystemClock};
use crate::exchange::NodeExchange;
use crate::host;
use crate::metrics::Metrics;
use crate::net::{AddressBook, Net, TcpNet};
use crate::tls::Tls;
use crate::transport::PeerPool;

/// The environment of a node; a simulator provides its own.
pub struct NodeEnv {
    /// Listens and connects.
    pub net: Arc<dyn Net>,
    /// Sends and receives datagrams.
    pub datagrams: Arc<dyn DatagramNet>,
    /// Looks up host names.
    pub resolver: Arc<dyn Resolver>,
    /// Files and random numbers.
    pub fs: Arc<dyn Fs>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The newest feature level that the node knows; tests of upgrades set an older one.
    pub level: FeatureLevel,
    /// The limits of the host.
    pub host: HostLimits,
    /// Ends the process: called if a disk that hangs keeps the node from ending by itself.
    pub end_process: Arc<dyn Fn() + Send + Sync>,
}

impl NodeEnv {
    /// TCP, the file system, the system's clock, the level of this program, the host's limits.
    pub fn real() -> Self {
        Self {
            net: Arc::new(TcpNet),
            datagrams: Arc::new(SystemNet),
            resolver: Arc::new(SystemNet),
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock),
            level: FeatureLevel::CURRENT,
            host: host::limits(),
            end_process: Arc::new(|| std::process::exit(i32::from(EXIT_FATAL))),
        }
    }

    pub(super) fn peer_pool(
        &self,
        capacity: Capacity,
        tls: &Arc<Tls>,
        metrics: &Arc<Metrics>,
        addresses: watch::Receiver<AddressBook>,
    ) -> PeerPool {
        let (clock, replicas_max_count) = (Arc::clone(&self.clock), capacity.replicas_max_count);
        let exchange = NodeExchange::new(clock, self.level, replicas_max_count);
        let (net, tls) = (Arc::clone(&self.net), Arc::clone(tls));
        PeerPool::new(net, tls, Arc::clone(metrics), exchange, addresses)
    }
}
