//! The EndpointSlices of a Service in Kubernetes as a source: listed and watched. An expired
//! resource version is answered with a new list, and errors are retried with backoff.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config};
use lograft_core::limits::{
    ENDPOINTS_CONNECT_MAX, ENDPOINTS_READ_MAX, ENDPOINTS_WATCH_MAX_SECONDS,
};
use tokio::sync::watch;
use tracing::warn;

use crate::facts::NodeName;
use crate::source::{Sighting, Sightings, Source, SourceKind};

/// The label by which Kubernetes names the Service of an EndpointSlice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// The name of the Service's port for the other nodes.
const PEER_PORT_NAME: &str = "peer";
/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// The process runs in no pod, or its ServiceAccount's token is not mounted.
    #[error("cannot read the address and the token for the API server of Kubernetes")]
    NoPod(#[source] kube::config::InClusterError),
    /// The client refused its configuration.
    #[error("cannot create a client for the API server of Kubernetes")]
    Client(#[source] Box<kube::Error>),
}

/// Watches the EndpointSlices of a Service.
pub struct EndpointWatch {
    slices: Api<EndpointSlice>,
    service: String,
    found: watch::Sender<Arc<Sightings>>,
}

/// The endpoints, as other parts of the node read them.
#[derive(Clone, Debug)]
pub struct Endpoints(watch::Receiver<Arc<Sightings>>);

impl Source for Endpoints {
    fn kind(&self) -> SourceKind {
        SourceKind::Endpoints
    }

    fn sightings(&self) -> watch::Receiver<Arc<Sightings>> {
        self.0.clone()
    }
}

impl EndpointWatch {
    /// With the address, the CA and the token that Kubernetes gives a pod; the token is read again
    /// when it is renewed. An error is permanent.
    pub fn in_pod(namespace: &str, service: &str) -> Result<(Self, Endpoints), EndpointsError> {
        let mut config = Config::incluster().map_err(EndpointsError::NoPod)?;
        // A list is short, and a watch is renewed more often than this.
        config.connect_timeout = Some(ENDPOINTS_CONNECT_MAX);
        config.read_timeout = Some(ENDPOINTS_READ_MAX);
        let client = Client::try_from(config);
        let client = client.map_err(|source| EndpointsError::Client(Box::new(source)))?;
        Ok(Self::new(client, namespace, service))
    }

    /// Nothing is requested before [`Self::run`].
    pub fn new(client: Client, namespace: &str, service: &str) -> (Self, Endpoints) {
        let (found, receiver) = watch::channel(Arc::default());
        let this = Self {
            slices: Api::namespaced(client, namespace),
            service: service.to_owned(),
            found,
        };
        (this, Endpoints(receiver))
    }

    /// Watches until dropped.
    pub async fn run(self) {
        let config = watcher::Config::default()
            .labels(&format!("{SERVICE_LABEL}={}", self.service))
            .timeout(ENDPOINTS_WATCH_MAX_SECONDS);
        let events = watcher::watcher(self.slices.clone(), config).default_backoff();
        let mut events = pin!(events);
        let mut slices = Slices::default();
        let mut error: Option<String> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if slices.apply(event) {
                        error = None;
                        self.publish(&slices, None);
                    }
                }
                Err(failed) => {
                    let text = failed.to_string();
                    if error.as_ref() != Some(&text) {
                        let error = &text;
                        warn!(error, "cannot watch the endpoints, keeping the last ones");
                    }
                    error = Some(text);
                    self.publish(&slices, error.clone());
                }
            }
        }
    }

    fn publish(&self, slices: &Slices, error: Option<String>) {
        let items = slices.sightings();
        self.found
            .send_replace(Arc::new(Sightings { items, error }));
    }
}

/// The slices by name. A new list replaces them only when it is complete.
#[derive(Default)]
struct Slices {
    known: BTreeMap<String, EndpointSlice>,
    listed: BTreeMap<String, EndpointSlice>,
}

impl Slices {
    /// Takes an event over, and returns whether the known slices may have changed.
    fn apply(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(slice) => {
                self.listed.insert(name_of(&slice), slice);
                false
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.listed);
                true
            }
            Event::Apply(slice) => {
                self.known.insert(name_of(&slice), slice);
                true
            }
            Event::Delete(slice) => {
                self.known.remove(&name_of(&slice));
                true
            }
        }
    }

    /// The pods: one that has addresses of both families is in two slices.
    fn sightings(&self) -> Vec<Sighting> {
        let mut pods: BTreeMap<NodeName, Vec<Arc<str>>> = BTreeMap::new();
        for slice in self.known.values() {
            let Some(port) = peer_port(slice) else {
                continue;
            };
            for endpoint in &slice.endpoints {
                let Some(name) = pod_of(endpoint) else {
                    continue;
                };
                let addresses = pods.entry(name.into()).or_default();
                let found = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
                let found = found.map(|ip: IpAddr| SocketAddr::new(ip, port).to_string());
                for address in found.map(Arc::<str>::from) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
        }
        pods.retain(|_, addresses| !addresses.is_empty());
        let sighting = |(name, addresses)| Sighting {
            name: Some(name),
            addresses,
            gossip: None,
        };
        pods.into_iter().map(sighting).collect()
    }
}

fn name_of(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

fn peer_port(slice: &EndpointSlice) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    let peer = ports.find(|port| port.name.as_deref() == Some(PEER_PORT_NAME))?;
    peer.port.and_then(|port| u16::try_from(port).ok())
}

/// A node has the name of its pod.
fn pod_of(endpoint: &Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    let is_pod = target.kind.as_deref() == Some("Pod");
    target.name.as_deref().filter(|_| is_pod)
}
