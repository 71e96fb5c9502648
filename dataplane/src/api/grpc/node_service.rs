//! The node service: calls between the nodes' control, on the peer port.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use lograft_core::limits::READING_INTERVAL;
use lograft_core::metadata::{Command, Outcome};
use lograft_core::{GroupId, NodeId};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::node_service_server::{NodeService, NodeServiceServer};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::peer_checks::{Claim, Sender, check_sender, find_group};
use super::status::{not_proposed, outcome_unknown, to_wire, transfer_failed, unencodable};
use crate::access::Access;
use crate::control::Control;
use crate::control::known_leaders::{LeaderChange, LedGroups, leader_changes};
use crate::control::meta_repair::MetaEviction;
use crate::control::peer_calls::AcceptedGroups;
use crate::control::propose::ProposeAttempt;
use crate::convert::{self, Route};
use crate::error::ApiError;
use crate::exchange::NodeExchange;
use crate::transport::node_report;

/// Hands requests to control.
pub(crate) struct NodeApi {
    control: Control,
    access: Access,
}

impl NodeApi {
    /// The service over a node's control.
    pub(crate) fn server(control: Control, access: Access) -> NodeServiceServer<Self> {
        NodeServiceServer::new(Self { control, access })
    }

    fn authorize_command(&self, command: &Command, principal: &str) -> Result<(), ApiError> {
        let principal = match principal {
            "" => None,
            named => Some(named.parse().map_err(|e| ApiError::invalid_rule(&e))?),
        };
        self.access.check_command(principal.as_ref(), command)
    }

    fn admit(&self, sender: &Sender, route: Option<&proto::Route>) -> Result<Route, Status> {
        Ok(sender.check_route(&self.control, route)?)
    }
}

type Hints = BoxStream<'static, Result<proto::LeaderHints, Status>>;

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn propose_meta(
        &self,
        request: Request<proto::ProposeMetaRequest>,
    ) -> Result<Response<proto::ProposeMetaReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::ProposeMetaRequest {
            route,
            command,
            principal,
        } = request.into_inner();
        let (route, claim) = sender.check_claim(&self.control, route.as_ref())?;
        let metadata = self.control.view.load();
        let decoded = Command::decode(&command);
        sender.check_command(&metadata, (route.from, claim), decoded.as_ref().ok())?;
        // One that this version cannot read is refused by the proposer.
        if let Ok(decoded) = &decoded {
            self.authorize_command(decoded, &principal)?;
        }
        let proposer = &self.control.proposer;
        match proposer.attempt_for_peer(&command, decoded).await {
            ProposeAttempt::Applied(index, result) => {
                let outcome = Outcome::encode(&result).map_err(|error| unencodable(&error))?;
                let refusal = result.err().map(ApiError::from);
                Ok(Response::new(proto::ProposeMetaReply {
                    outcome: outcome.into(),
                    index: index.get(),
                    error: refusal.as_ref().map(to_wire),
                }))
            }
            ProposeAttempt::Refused(error) => Err((*error).into()),
            // The code means that the command is in no log.
            ProposeAttempt::NotProposed(text) => Err(not_proposed(text)),
            ProposeAttempt::Unknown(text) => Err(outcome_unknown(text)),
        }
    }

    async fn describe_node(
        &self,
        request: Request<proto::DescribeNodeRequest>,
    ) -> Result<Response<proto::NodeReport>, Status> {
        let sender = Sender::of(request.extensions())?;
        // A caller that knows only the address omits the route: it asks which node this is.
        if let Some(route) = request.into_inner().route {
            self.admit(&sender, Some(&route))?;
        }
        Ok(Response::new(node_report::to_proto(
            self.control.reporter.report(),
        )))
    }

    type WatchLeadersStream = Hints;

    async fn watch_leaders(
        &self,
        request: Request<proto::WatchLeadersRequest>,
    ) -> Result<Response<Hints>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::WatchLeadersRequest { route, incarnation } = request.into_inner();
        // Also for a renamed node, which learns by it to whom it can propose its new name.
        let (route, claim) = sender.check_claim(&self.control, route.as_ref())?;
        let to = route.from;
        let (led, exchange) = (&self.control.led_groups, &self.control.exchange);
        if let Some(incarnation) = incarnation.filter(|_| claim != Claim::Renamed) {
            let incarnation = convert::reading::incarnation_from_proto(incarnation);
            exchange.incarnations().observe(to, incarnation);
        }
        Ok(Response::new(leaderships(
            to,
            led.watch(),
            exchange.clone(),
        )))
    }

    async fn move_leader(
        &self,
        request: Request<proto::MoveLeaderRequest>,
    ) -> Result<Response<proto::MoveLeaderReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::MoveLeaderRequest { route, to_node } = request.into_inner();
        let route = self.admit(&sender, route.as_ref())?;
        let transfers = &self.control.transfers;
        let (leader, term) = transfers
            .transfer_local(route.group, NodeId(to_node))
            .await
            .map_err(|error| transfer_failed(&error))?;
        let reply = proto::MoveLeaderReply {
            leader_node: leader.get(),
            term: term.get(),
        };
        Ok(Response::new(reply))
    }

    async fn catch_up_target(
        &self,
        request: Request<proto::CatchUpTargetRequest>,
    ) -> Result<Response<proto::CatchUpTargetReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::CatchUpTargetRequest { route, incarnation } = request.into_inner();
        let route = self.admit(&sender, route.as_ref())?;
        let incarnation = incarnation.map(convert::reading::incarnation_from_proto);
        check_sender(&self.control, route.from, incarnation)?;
        let last = match find_group(&self.control, route.group) {
            Ok(group) => group.catch_up_target(route.from).await.ok(),
            Err(_) => None,
        };
        let last = last.map(convert::log_id_to_proto);
        Ok(Response::new(proto::CatchUpTargetReply { last }))
    }

    async fn accept_older_disk(
        &self,
        request: Request<proto::AcceptOlderDiskRequest>,
    ) -> Result<Response<proto::AcceptOlderDiskReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::AcceptOlderDiskRequest {
            route,
            group_id,
            dry_run,
        } = request.into_inner();
        self.admit(&sender, route.as_ref())?;
        let groups = AcceptedGroups {
            group: group_id.map(GroupId),
            is_dry_run: dry_run,
        };
        let accepted = self.control.older_disk.accept_own(groups).await?;
        let replicas = accepted.iter().map(|replica| proto::FencedReplica {
            group_id: replica.group.get(),
            log_end_offset: replica.log_end.get(),
        });
        Ok(Response::new(proto::AcceptOlderDiskReply {
            replicas: replicas.collect(),
        }))
    }

    async fn recover_metadata(
        &self,
        request: Request<proto::RecoverMetadataRequest>,
    ) -> Result<Response<proto::RecoverMetadataReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        let proto::RecoverMetadataRequest { route, dry_run } = request.into_inner();
        self.admit(&sender, route.as_ref())?;
        let recovered = self.control.meta_recoveries.recover_own(dry_run).await?;
        let last = recovered
            .last
            .map(convert::log_id_to_proto)
            .unwrap_or_default();
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
        Ok(Response::new(proto::RecoverMetadataReply {
            recovery_epoch: recovered.epoch.get(),
            last_index: last.index,
            last_term: last.term,
            following: ids(&recovered.following),
            lost: ids(&recovered.lost),
        }))
    }

    async fn evict_meta_replica(
        &self,
        request: Request<proto::EvictMetaReplicaRequest>,
    ) -> Result<Response<proto::EvictMetaReplicaReply>, Status> {
        let sender = Sender::of(request.extensions())?;
        // Only the sender itself is evicted: it alone knows that its log is lost.
        let route = self.admit(&sender, request.into_inner().route.as_ref())?;
        let replicas = self.control.replicas.clone();
        MetaEviction { replicas }.evict(route.from).await?;
        Ok(Response::new(proto::EvictMetaReplicaReply {}))
    }
}

type Led = Arc<LedGroups>;

/// All groups led, then each change; with each, and at an interval, the state of this node.
fn leaderships(to: NodeId, led: watch::Receiver<Led>, exchange: NodeExchange) -> Hints {
    let interval = tokio::time::interval(READING_INTERVAL);
    let first = (led, None::<Led>, interval);
    let hints = stream::unfold(first, move |(mut led, told, mut interval)| {
        let exchange = exchange.clone();
        async move {
            let told = match told {
                None => Led::default(),
                Some(told) => {
                    tokio::select! {
                        changed = led.changed() => changed.ok()?,
                        _ = interval.tick() => {}
                    }
                    told
                }
            };
            let now = Arc::clone(&led.borrow_and_update());
            let hints = proto::LeaderHints {
                hints: leader_changes(&told, &now)
                    .iter()
                    .map(change_to_proto)
                    .collect(),
                reading: Some(convert::reading::to_proto(exchange.own())),
                receiver_seen: exchange
                    .incarnations()
                    .seen(to)
                    .map(convert::reading::incarnation_to_proto),
            };
            Some((Ok(hints), (led, Some(now), interval)))
        }
    });
    hints.boxed()
}

fn change_to_proto(change: &LeaderChange) -> proto::LeaderHint {
    let LeaderChange { group, term, leads } = *change;
    proto::LeaderHint {
        group_id: group.get(),
        term: term.get(),
        leads,
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::{FeatureLevel, Term};

    use super::*;
    use crate::clock::SystemClock;

    fn led(groups: &[u64]) -> Led {
        Arc::new(
            groups
                .iter()
                .map(|group| (GroupId(*group), Term(1)))
                .collect(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn leaderships_are_told_at_once_and_as_they_change() {
        let leads = watch::Sender::new(led(&[]));
        let exchange = NodeExchange::new(Arc::new(SystemClock), FeatureLevel::CURRENT, 0);
        let mut hints = leaderships(NodeId(2), leads.subscribe(), exchange);
        let mut next = async || -> Vec<(u64, bool)> {
            let batch = hints.next().await.unwrap().unwrap();
            assert!(batch.reading.is_some_and(|reading| reading.clock_ms > 0));
            batch
                .hints
                .iter()
                .map(|hint| (hint.group_id, hint.leads))
                .collect()
        };
        assert_eq!(
            next().await,
            [],
            "also when there are none: the node is there"
        );
        // The first tick of the interval is at once.
        assert_eq!(next().await, []);
        leads.send_replace(led(&[3, 4]));
        assert_eq!(next().await, [(3, true), (4, true)]);
        leads.send_replace(led(&[4]));
        assert_eq!(next().await, [(3, false)]);
        let before = tokio::time::Instant::now();
        assert_eq!(next().await, [], "the state of the node at an interval");
        assert_eq!(before.elapsed(), READING_INTERVAL);
        drop(leads);
        assert!(hints.next().await.is_none());
    }
}
