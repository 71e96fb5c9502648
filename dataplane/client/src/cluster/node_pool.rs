//! Reaching nodes: channels, calls to any node, retries.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::limits;
use lograft_core::{NodeId, PartitionId, Reason};
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1 as wire;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::routes::{LeaderHint, Routes};
use super::{Metadata, TopicInfo};
use crate::config::ClientConfig;
use crate::dial::{Connector, DialError, Refusal, Route};
use crate::error::ClientError;
use crate::pacing::Jitter;
use crate::tls::TlsSettings;

/// Which failures of a call lead to another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// All that pass: the call may be made twice without harm.
    Always,
    /// Only those after which it is certain that nothing was done.
    IfNotDone,
}

impl Retry {
    fn allows(self, error: &ClientError) -> bool {
        let may_be_done =
            matches!(error, ClientError::Broken { .. }) || error.reason() == Some(Reason::Timeout);
        error.is_retryable() && (self == Self::Always || !may_be_done)
    }
}

/// A channel to a node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) address: Arc<str>,
    channel: Channel,
    refusal: Arc<Refusal>,
}

impl Node {
    /// What a failed call means.
    pub(crate) fn error(&self, status: Status) -> ClientError {
        match ClientError::from_status(&self.address, status) {
            broken @ ClientError::Broken { .. } => match self.refusal.take() {
                Some(kind) => {
                    let endpoint = self.address.as_ref().to_owned();
                    ClientError::Connect(Arc::new(DialError { endpoint, kind }))
                }
                None => broken,
            },
            error => error,
        }
    }

    pub(crate) fn log(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::GRPC_MESSAGE_MAX_BYTES)
    }
}

/// What clones of a client share.
pub(crate) struct Reach {
    pub(crate) config: ClientConfig,
    pub(crate) jitter: Jitter,
    tls: Arc<TlsSettings>,
    routes: Mutex<Routes>,
    /// One connection per node for calls, and one that the client's producers share; consumers
    /// have their own. So none waits behind the windows of another kind.
    calls: Mutex<HashMap<Arc<str>, Node>>,
    produces: Mutex<HashMap<Arc<str>, Node>>,
    /// When the map was last fetched. Held during the fetch: callers share it.
    fetched: tokio::sync::Mutex<Option<Instant>>,
    /// The node that answered last.
    answered: Mutex<Option<Arc<str>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reach {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, ClientError> {
        config.check()?;
        let tls = TlsSettings::new(config.tls.clone(), config.server_name.clone());
        // Files that cannot be used are told now, not at the first connection.
        tls.current()?;
        Ok(Self {
            jitter: Jitter::new(config.jitter_seed),
            tls: Arc::new(tls),
            config,
            routes: Mutex::default(),
            calls: Mutex::default(),
            produces: Mutex::default(),
            fetched: tokio::sync::Mutex::new(None),
            answered: Mutex::default(),
        })
    }

    /// A connection of its own to the node at `address`, opened at first use and again after it
    /// broke.
    pub(crate) fn open(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        // TLS is the connector's business: to tonic the scheme is plain.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| ClientError::config("address", format!("host:port, not {address}")))?
            .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW_BYTES)
            .max_frame_size(limits::HTTP2_FRAME_MAX_BYTES)
            .http2_keep_alive_interval(limits::HTTP2_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::HTTP2_KEEPALIVE_MAX);
        let refusal = Arc::new(Refusal::default());
        let route = if self.config.endpoints_only {
            let first = self.jitter.pick(self.config.endpoints.len());
            Route::over(&self.config.endpoints, first)
        } else {
            Route::to(Arc::clone(address))
        };
        let connector = Connector {
            route: Arc::new(route),
            dialer: Arc::clone(&self.config.dialer),
            tls: Arc::clone(&self.tls),
            refusal: Arc::clone(&refusal),
            timeout: self.config.connect_timeout,
        };
        let channel = endpoint.connect_with_connector_lazy(connector);
        Ok(Node {
            address: Arc::clone(address),
            channel,
            refusal,
        })
    }

    fn call_node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        self.shared_node(&self.calls, address)
    }

    /// The connection to the node at `address` that carries the streams of all producers.
    pub(crate) fn produce_node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        self.shared_node(&self.produces, address)
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

    /// The next producer's stream to `address` gets a new connection: the one that they share
    /// does not answer.
    pub(crate) fn leave_produce_node(&self, address: &Arc<str>) {
        locked(&self.produces).remove(address);
    }

    pub(crate) fn routes(&self) -> MutexGuard<'_, Routes> {
        locked(&self.routes)
    }

    /// The addresses to try: who answered last, then the known nodes from a random one on, then
    /// the configured endpoints.
    fn candidates(&self) -> Vec<Arc<str>> {
        let mut known: Vec<Arc<str>> = self.routes().addresses().cloned().collect();
        if !known.is_empty() {
            let start = self.jitter.pick(known.len());
            known.rotate_left(start);
        }
        let configured = self.config.endpoints.iter().map(|e| Arc::from(e.as_str()));
        let mut all: Vec<Arc<str>> = Vec::new();
        for address in locked(&self.answered)
            .clone()
            .into_iter()
            .chain(known)
            .chain(configured)
        {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// One round over all nodes; the first answer, or the first failure that no other node mends.
    async fn round<T, F>(
        &self,
        per_node: Duration,
        retry: Retry,
        call: &mut impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut failures = Vec::new();
        for address in self.candidates() {
            let node = self.call_node(&address)?;
            let error = match timeout(per_node, call(node.clone())).await {
                Ok(Ok(reply)) => {
                    *locked(&self.answered) = Some(address);
                    return Ok(reply.into_inner());
                }
                Ok(Err(status)) => node.error(status),
                Err(_) => ClientError::Broken {
                    endpoint: address.as_ref().to_owned(),
                    status: Arc::new(Status::deadline_exceeded("no answer in time")),
                },
            };
            let mut answered = locked(&self.answered);
            if answered.as_ref() == Some(&address) {
                *answered = None;
            }
            drop(answered);
            // Another node may be reachable, and may trust this client.
            let is_elsewhere = matches!(error, ClientError::Connect(_));
            if !is_elsewhere && !retry.allows(&error) {
                return Err(error);
            }
            failures.push(error);
        }
        let only = if failures.len() == 1 {
            failures.pop()
        } else {
            None
        };
        Err(only.unwrap_or(ClientError::NoEndpoint(failures)))
    }

    /// The address of the node that answered last.
    pub(crate) fn answered(&self) -> String {
        locked(&self.answered)
            .as_deref()
            .unwrap_or_default()
            .to_owned()
    }

    /// Calls any node; fails after one round over all of them.
    pub(crate) async fn call_once<T, F>(
        &self,
        mut call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.round(self.config.request_timeout, Retry::Always, &mut call)
            .await
    }

    /// Calls any node, again and again within the request timeout while the failure may pass.
    pub(crate) async fn call<T, F>(
        &self,
        action: &'static str,
        retry: Retry,
        mut call: impl FnMut(Node) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let after = self.config.request_timeout;
        let until = Instant::now() + after;
        let mut failures = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let error = match self.round(left, retry, &mut call).await {
                Ok(reply) => return Ok(reply),
                Err(error) if retry.allows(&error) => error,
                Err(error) => return Err(error),
            };
            failures += 1;
            let wait = self.jitter.backoff(failures);
            if Instant::now() + wait >= until {
                let last = Some(Box::new(error));
                return Err(ClientError::Timeout {
                    action,
                    after,
                    last,
                });
            }
            sleep(wait).await;
        }
    }

    async fn ask(
        &self,
        topics: &[String],
        node: Node,
    ) -> Result<Response<wire::GetMetadataReply>, Status> {
        let request = wire::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        node.log().get_metadata(request).await
    }

    /// Fetches the nodes and, of the topics, those in use; fails after one round over all nodes.
    /// Answers all topics.
    pub(crate) async fn fetch_all(&self) -> Result<Metadata, ClientError> {
        let per_node = self.config.connect_timeout + limits::CLIENT_METADATA_TIMEOUT;
        let mut reply = self
            .round(per_node, Retry::Always, &mut |node| self.ask(&[], node))
            .await?;
        let mut all = Routes::default();
        all.learn(reply.clone());
        let mut routes = self.routes();
        routes.forget_topics_but(&reply.topics);
        reply
            .topics
            .retain(|topic| routes.topic(&topic.name).is_some());
        routes.learn(reply);
        Ok(all.snapshot())
    }

    /// Fetches the map of the topics in use, unless somebody did just now. Failures are no matter:
    /// the caller looks again.
    pub(crate) async fn refresh(&self) {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < limits::CLIENT_METADATA_MIN_AGE) {
            return;
        }
        let topics = self.routes().topic_names();
        if topics.is_empty() {
            return;
        }
        let per_node = limits::CLIENT_METADATA_TIMEOUT;
        let ask = &mut |node| self.ask(&topics, node);
        match self.round(per_node, Retry::Always, ask).await {
            Ok(reply) => self.routes().learn(reply),
            Err(error) => tracing::debug!(%error, "fetching metadata failed"),
        }
        *fetched = Some(Instant::now());
    }

    /// One topic, from what is known or else fetched, with retries.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, ClientError> {
        if let Some(topic) = self.routes().topic(name) {
            return Ok(Arc::clone(topic));
        }
        let topics = [name.to_owned()];
        let ask = |node| self.ask(&topics, node);
        let reply = self.call("finding a topic", Retry::Always, ask).await?;
        let reply = if is_unknown(&reply) {
            self.ask_others(&topics, reply).await
        } else {
            reply
        };
        let error = reply.topics.first().and_then(|topic| topic.error.clone());
        self.routes().learn(reply);
        if let Some(error) = error {
            return Err(ClientError::from_wire(&self.answered(), error));
        }
        let known = self.routes().topic(name).map(Arc::clone);
        known.ok_or_else(|| ClientError::Protocol {
            endpoint: self.answered(),
            what: "metadata without the topic asked for",
        })
    }

    /// A node that lags behind does not know a topic that was created just now: the first answer
    /// that does, or `reply`.
    async fn ask_others(
        &self,
        topics: &[String],
        reply: wire::GetMetadataReply,
    ) -> wire::GetMetadataReply {
        for address in self.candidates() {
            let Ok(node) = self.call_node(&address) else {
                continue;
            };
            let asked = timeout(limits::CLIENT_METADATA_TIMEOUT, self.ask(topics, node)).await;
            if let Ok(Ok(other)) = asked
                && !is_unknown(other.get_ref())
            {
                return other.into_inner();
            }
        }
        reply
    }

    /// What a failure of a partition's leader teaches: who leads now, or that this one does not.
    /// Answers whether there is a new leader to go to at once.
    pub(crate) fn learn_failure(
        &self,
        topic: &str,
        partition: PartitionId,
        node: NodeId,
        error: &ClientError,
    ) -> bool {
        let mut routes = self.routes();
        let hint = LeaderHint::of(error).filter(|hint| hint.node != node);
        match error.reason() {
            Some(Reason::NotLeader) if let Some(hint) = hint => {
                routes.learn_leader(topic, partition, &hint);
                routes
                    .leader(topic, partition)
                    .is_some_and(|(leader, _)| leader != node)
            }
            Some(
                Reason::NotLeader
                | Reason::NoLeader
                | Reason::NotReady
                | Reason::ReplicaCorrupt
                | Reason::UnknownTopic
                | Reason::UnknownPartition,
            )
            | None => {
                routes.doubt_leader(topic, partition, node);
                false
            }
            Some(_) => false,
        }
    }

    /// How long a wait after `failures` tries in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        self.jitter.backoff(failures)
    }
}

fn is_unknown(reply: &wire::GetMetadataReply) -> bool {
    reply.topics.iter().any(|topic| topic.error.is_some())
}
