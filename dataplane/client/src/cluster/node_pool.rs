//! Connections to the nodes, and calls to whichever node replies.

mod metadata;
mod replicas;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::NodeId;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Response, Status};

use super::metadata_cache::MetadataCache;
use super::node::{Node, Retry};
use super::replicas::ReadStreams;
use crate::backoff::Jitter;
use crate::config::ClientConfig;
use crate::connection::connector::{AddressRotation, Connector};
use crate::connection::tls::TlsSettings;
use crate::error::ClientError;

/// Connections to the nodes of a cluster and its cached metadata; shared by the clones of a client.
///
/// Calls and producers have one connection per node each, and every consumer has its own. So the
/// HTTP/2 flow control windows of one kind, for example of a slow consumer, never block another.
pub(crate) struct NodePool {
    pub(crate) config: ClientConfig,
    pub(crate) jitter: Jitter,
    tls: Arc<TlsSettings>,
    metadata: Mutex<MetadataCache>,
    /// Connections for calls, by address.
    call_nodes: Mutex<HashMap<Arc<str>, Node>>,
    /// Connections for the streams of producers, by address.
    produce_nodes: Mutex<HashMap<Arc<str>, Node>>,
    /// Time of the last metadata refresh. Locked during the refresh, so that concurrent callers
    /// share one.
    refreshed_at: tokio::sync::Mutex<Option<Instant>>,
    /// Address of the node that replied last.
    last_replied: Mutex<Option<Arc<str>>>,
    /// The streams of consumers that read from any replica.
    pub(crate) read_streams: Arc<ReadStreams>,
    /// Probes of silent nodes, by address.
    probes: Mutex<HashMap<Arc<str>, Arc<replicas::Probe>>>,
    /// Addresses of nodes that owe a reply. They are tried last, until they reply again.
    silent: Mutex<HashSet<Arc<str>>>,
}

/// The end of an operation, all of its calls and retries included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    after: Duration,
    pub(crate) until: Instant,
}

impl Deadline {
    /// The end of an operation that starts now and may take so long.
    pub(crate) fn after(after: Duration) -> Self {
        Self {
            after,
            until: Instant::now() + after,
        }
    }
}

/// Whether a call did not reach its node, or the node does not have it. Another one may be
/// reachable, may trust this client, and may run a newer version.
const fn is_unreached(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Connect(_) | ClientError::UnknownCall { .. }
    )
}

/// Whether the deadline of an operation has cut a call before its node replied. A node that says
/// that a deadline has passed is a rejection, and a proxy may say so earlier.
fn is_cut(error: &ClientError, until: Instant) -> bool {
    let code = match error {
        ClientError::Broken { status, .. } => status.code(),
        _ => return false,
    };
    code == Code::DeadlineExceeded && until <= Instant::now()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NodePool {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        config.validate()?;
        let tls = TlsSettings::new(config.tls.clone(), config.server_name.clone());
        // Unusable files are reported here, not at the first connection.
        tls.current()?;
        Ok(Self {
            jitter: Jitter::new(config.jitter_seed),
            tls: Arc::new(tls),
            config,
            metadata: Mutex::default(),
            call_nodes: Mutex::default(),
            produce_nodes: Mutex::default(),
            refreshed_at: tokio::sync::Mutex::new(None),
            last_replied: Mutex::default(),
            silent: Mutex::default(),
            read_streams: Arc::default(),
            probes: Mutex::default(),
        })
    }

    /// A separate connection to the node at `address`, opened at first use.
    pub(crate) fn open(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        let addresses = if self.config.endpoints_only {
            let first = self.jitter.pick(self.config.endpoints.len());
            AddressRotation::over(&self.config.endpoints, first)
        } else {
            AddressRotation::single(Arc::clone(address))
        };
        let connector = Connector {
            addresses: Arc::new(addresses),
            dialer: Arc::clone(&self.config.dialer),
            tls: Arc::clone(&self.tls),
            alert: Arc::default(),
            timeout: self.config.connect_timeout,
        };
        Node::new(address, connector)
    }

    fn call_node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        self.shared_node(&self.call_nodes, address)
    }

    /// The connection to the node at `address` that all producers share.
    pub(crate) fn produce_node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        self.shared_node(&self.produce_nodes, address)
    }

    fn shared_node(
        &self,
        nodes: &Mutex<HashMap<Arc<str>, Node>>,
        address: &Arc<str>,
    ) -> Result<Node, ClientError> {
        if let Some(node) = locked(nodes).get(address) {
            return Ok(node.clone());
        }
        let node = self.open(address)?;
        locked(nodes).insert(Arc::clone(address), node.clone());
        Ok(node)
    }

    /// Drops the connection that producers share, because the node does not reply on it. The next
    /// produce stream to `address` opens a new one.
    pub(crate) fn discard_produce_node(&self, address: &Arc<str>) {
        locked(&self.produce_nodes).remove(address);
    }

    pub(crate) fn metadata(&self) -> MutexGuard<'_, MetadataCache> {
        locked(&self.metadata)
    }

    /// Notes that the node at `address` owes a reply.
    pub(crate) fn note_silent(&self, address: &Arc<str>) {
        locked(&self.silent).insert(Arc::clone(address));
    }

    /// Notes that the node at `address` has sent something.
    pub(crate) fn note_heard(&self, address: &Arc<str>) {
        locked(&self.silent).remove(address);
    }

    /// Forgets which nodes owe a reply: the others do not answer either.
    fn forget_silent(&self) {
        locked(&self.silent).clear();
    }

    fn note_replied(&self, address: Arc<str>) {
        self.note_heard(&address);
        *locked(&self.last_replied) = Some(address);
    }

    /// The addresses to try in order: the node that replied last, the known nodes starting at a
    /// random one, the configured endpoints. Those that owe a reply are the last.
    fn candidates(&self) -> Vec<Arc<str>> {
        let mut known: Vec<Arc<str>> = self.metadata().addresses().cloned().collect();
        if !known.is_empty() {
            let start = self.jitter.pick(known.len());
            known.rotate_left(start);
        }
        let configured = self.config.endpoints.iter().map(|e| Arc::from(e.as_str()));
        let mut all: Vec<Arc<str>> = Vec::new();
        for address in locked(&self.last_replied)
            .clone()
            .into_iter()
            .chain(known)
            .chain(configured)
        {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        let mut silent = locked(&self.silent);
        silent.retain(|address| all.contains(address));
        all.sort_by_key(|address| silent.contains(address));
        all
    }

    /// The candidates, without those that owe a reply unless there are no others.
    fn replying_candidates(&self) -> Vec<Arc<str>> {
        let mut all = self.candidates();
        let silent = locked(&self.silent);
        let replying = all.partition_point(|address| !silent.contains(address));
        if replying > 0 {
            all.truncate(replying);
        }
        all
    }

    /// Calls each node once until one replies. Fails at the first error that is not retryable, with
    /// the errors of all nodes, or at `until`: a node that hangs does not take all of the time, as
    /// keepalive pings end its connection before. `action` names the call in the error, in
    /// the infinitive.
    async fn try_each_node<T, F>(
        &self,
        action: &'static str,
        (candidates, until): (Vec<Arc<str>>, Instant),
        retry: Retry,
        call: &mut impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut failures = Vec::new();
        for address in candidates {
            // A node that is asked without time to answer would count as silent.
            if !failures.is_empty() && until <= Instant::now() {
                break;
            }
            let error = match self.try_node(action, address, until, &mut *call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            // A call that the deadline cuts says less than the failures of the nodes before.
            let says_less = is_cut(&error, until) && !failures.is_empty();
            if !is_unreached(&error) && !says_less && !retry.allows(&error) {
                return Err(error);
            }
            failures.push(error);
        }
        Err(all_failed(failures))
    }

    /// Calls one node.
    async fn try_node<T, F>(
        &self,
        action: &'static str,
        address: Arc<str>,
        until: Instant,
        call: impl FnOnce(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let node = self.call_node(&address)?;
        let error = match timeout_at(until, call(node.clone())).await {
            Ok(Ok(reply)) => {
                self.note_replied(address);
                return Ok(reply.into_inner());
            }
            Ok(Err(status)) => node.error(action, status),
            Err(_) => {
                self.note_silent(&address);
                ClientError::Broken {
                    endpoint: address.as_ref().to_owned(),
                    status: Arc::new(Status::deadline_exceeded(
                        "no reply within the request timeout",
                    )),
                }
            }
        };
        let mut last_replied = locked(&self.last_replied);
        if last_replied.as_ref() == Some(&address) {
            *last_replied = None;
        }
        Err(error)
    }

    /// The address of the node that replied last.
    pub(crate) fn last_replied(&self) -> String {
        locked(&self.last_replied)
            .as_deref()
            .unwrap_or_default()
            .to_owned()
    }

    /// Calls any node. Fails after each node was tried once. `action` names the call in the error,
    /// in the infinitive.
    pub(crate) async fn call_once<T, F>(
        &self,
        action: &'static str,
        mut call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let until = self.deadline().until;
        self.try_each_node(action, (self.candidates(), until), Retry::Always, &mut call)
            .await
    }

    /// The end of an operation that starts now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.config.request_timeout)
    }

    /// Calls any node, with retries and back-off until the request timeout. `action` names the call
    /// in the error, in the infinitive.
    pub(crate) async fn call<T, F>(
        &self,
        action: &'static str,
        retry: Retry,
        call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_until((action, self.deadline()), retry, call)
            .await
    }

    /// The same for one of several calls that have one deadline together. It bounds all attempts
    /// together, whichever nodes they go to.
    pub(crate) async fn call_until<T, F>(
        &self,
        (action, deadline): (&'static str, Deadline),
        retry: Retry,
        mut call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Deadline { after, until } = deadline;
        let (mut failures, mut last) = (0, None);
        loop {
            let nodes = (self.candidates(), until);
            let error = match self.try_each_node(action, nodes, retry, &mut call).await {
                Ok(reply) => return Ok(reply),
                Err(error) if is_cut(&error, until) || retry.allows(&error) => error,
                Err(error) => return Err(error),
            };
            failures += 1;
            let wait = self.backoff(failures, Some(&error));
            let was_cut = is_cut(&error, until);
            let is_over = was_cut || Instant::now() + wait >= until;
            if last.is_none() || !was_cut {
                last = Some(Box::new(error));
            }
            if is_over {
                return Err(ClientError::Timeout {
                    action,
                    after,
                    last,
                });
            }
            sleep(wait).await;
        }
    }

    /// The same, at this node first if its address is known; it has to reply before this time.
    pub(crate) async fn call_at<T, F>(
        &self,
        (first, first_until): (Option<NodeId>, Instant),
        (action, deadline): (&'static str, Deadline),
        retry: Retry,
        mut call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let address = first.and_then(|node| self.metadata().address(node));
        if let Some(address) = address {
            let until = first_until.min(deadline.until);
            let tried = self.try_node(action, address, until, &mut call).await;
            let has_time = Instant::now() < deadline.until;
            match tried {
                Err(error) if has_time && (is_unreached(&error) || retry.allows(&error)) => {}
                outcome => return outcome,
            }
        }
        self.call_until((action, deadline), retry, call).await
    }

    /// The delay before the next retry, after `failures` consecutive failures: at least as long as
    /// the node of the last one has asked for.
    pub(crate) fn backoff(&self, failures: u32, last: Option<&ClientError>) -> Duration {
        let asked = last.and_then(ClientError::retry_delay);
        self.jitter.backoff(failures).max(asked.unwrap_or_default())
    }
}

/// The error of a call that no node has answered.
fn all_failed(mut failures: Vec<ClientError>) -> ClientError {
    let is_unknown_call = |error: &ClientError| matches!(error, ClientError::UnknownCall { .. });
    let only = match failures.iter().position(is_unknown_call) {
        Some(unknown_call) => Some(failures.swap_remove(unknown_call)),
        None if failures.len() == 1 => failures.pop(),
        None => None,
    };
    only.unwrap_or(ClientError::NoEndpoint(failures))
}
