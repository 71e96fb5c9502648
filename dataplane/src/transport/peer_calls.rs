//! Calls of control to other nodes, over gRPC to their peer ports.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt;
use lograft_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lograft_core::metadata::Registration;
use lograft_core::reason::cut_text;
use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Offset, RecoveryEpoch, Term};
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::admin::v1::{JoinReply, JoinRequest};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::node_service_client::NodeServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::node_report;
use super::status::{error_from_wire, error_of, is_unknown_call};
use super::{ChannelClass, ChannelError, PeerPool};
use crate::control::known_leaders::LeaderChange;
use crate::control::node_report::NodeReport;
use crate::control::peer_calls::{AcceptedGroups, FencedReplica, MetaRecovery};
use crate::control::peer_calls::{
    AppliedCommand, CallRoute, EncodedProposal, JoinAnswer, JoinCall, LeaderChangeStream,
    LeaderMove, PeerAnswer, PeerCallError, PeerCalls, PeerFailure,
};
use crate::convert::{self, Route};
use crate::error_text::error_chain;
use crate::identity::Member;

impl PeerCalls for PeerPool {
    fn propose_meta(
        &self,
        route: CallRoute,
        proposal: EncodedProposal,
        timeout: Duration,
    ) -> PeerAnswer<AppliedCommand> {
        let EncodedProposal {
            command,
            on_behalf_of,
        } = proposal;
        let request = proto::ProposeMetaRequest {
            route: Some(route_to_proto(route, GroupId::META)),
            command,
            principal: on_behalf_of.map_or_else(String::new, |principal| principal.to_string()),
        };
        let limit = Limit("ProposeMeta", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.propose_meta(request).await
        });
        Box::pin(async move {
            let proto::ProposeMetaReply {
                outcome,
                index,
                error,
            } = answer.await?;
            Ok(AppliedCommand {
                index: LogIndex(index),
                outcome,
                refusal: error.map(error_from_wire),
            })
        })
    }

    fn describe(&self, route: CallRoute, timeout: Duration) -> PeerAnswer<NodeReport> {
        let request = proto::DescribeNodeRequest {
            route: Some(route_to_proto(route, GroupId::META)),
        };
        describe(self.node(route.to), request, timeout)
    }

    fn describe_at(&self, address: Arc<str>, timeout: Duration) -> PeerAnswer<NodeReport> {
        // Without a route: the caller wants to learn the id of the node at the address.
        let request = proto::DescribeNodeRequest { route: None };
        let node = self.channel_to(&address.into()).map(node_client);
        describe(node, request, timeout)
    }

    fn watch_leaders(&self, route: CallRoute) -> PeerAnswer<LeaderChangeStream> {
        let exchange = self.exchange().clone();
        let own = exchange.incarnations().own();
        let request = proto::WatchLeadersRequest {
            route: Some(route_to_proto(route, GroupId::META)),
            incarnation: own.map(convert::reading::incarnation_to_proto),
        };
        let node = self.node(route.to);
        Box::pin(async move {
            let mut node = node.map_err(|error| unreachable(&error))?;
            let opened = node.watch_leaders(Request::new(request)).await;
            let failed = |status: Status| failed(&status, "WatchLeaders");
            let stream = opened.map_err(failed)?.into_inner();
            let changes = stream.map(move |batch| {
                let proto::LeaderHints {
                    hints,
                    reading,
                    receiver_seen,
                } = batch.map_err(failed)?;
                if let Some(reading) = reading {
                    exchange.record(route.to, convert::reading::from_proto(reading));
                }
                if let Some(seen) = receiver_seen {
                    let seen = convert::reading::incarnation_from_proto(seen);
                    exchange.incarnations().hear_of_self(route.to, seen);
                }
                exchange.incarnations().set_answered(route.to);
                Ok(hints.iter().map(change_from_proto).collect())
            });
            Ok(changes.boxed())
        })
    }

    fn move_leader(
        &self,
        route: CallRoute,
        leader_move: LeaderMove,
        timeout: Duration,
    ) -> PeerAnswer<(NodeId, Term)> {
        let LeaderMove { group, to } = leader_move;
        let request = proto::MoveLeaderRequest {
            route: Some(route_to_proto(route, group)),
            to_node: to.get(),
        };
        let limit = Limit("MoveLeader", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.move_leader(request).await
        });
        Box::pin(async move {
            let proto::MoveLeaderReply { leader_node, term } = answer.await?;
            Ok((NodeId(leader_node), Term(term)))
        })
    }

    fn evict_meta(&self, route: CallRoute, timeout: Duration) -> PeerAnswer<()> {
        let request = proto::EvictMetaReplicaRequest {
            route: Some(route_to_proto(route, GroupId::META)),
        };
        let limit = Limit("EvictMetaReplica", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.evict_meta_replica(request).await
        });
        Box::pin(async move { answer.await.map(|proto::EvictMetaReplicaReply {}| ()) })
    }

    fn catch_up_target(
        &self,
        route: CallRoute,
        group: GroupId,
        timeout: Duration,
    ) -> PeerAnswer<Option<LogId>> {
        let own = self.exchange().incarnations().own();
        let request = proto::CatchUpTargetRequest {
            route: Some(route_to_proto(route, group)),
            incarnation: own.map(convert::reading::incarnation_to_proto),
        };
        let limit = Limit("CatchUpTarget", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.catch_up_target(request).await
        });
        Box::pin(async move {
            let proto::CatchUpTargetReply { last } = answer.await?;
            Ok(last.map(convert::log_id_from_proto))
        })
    }

    fn accept_older_disk(
        &self,
        route: CallRoute,
        groups: AcceptedGroups,
        timeout: Duration,
    ) -> PeerAnswer<Vec<FencedReplica>> {
        let AcceptedGroups { group, is_dry_run } = groups;
        let request = proto::AcceptOlderDiskRequest {
            route: Some(route_to_proto(route, GroupId::META)),
            group_id: group.map(GroupId::get),
            dry_run: is_dry_run,
        };
        let limit = Limit("AcceptOlderDisk", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.accept_older_disk(request).await
        });
        Box::pin(async move {
            let proto::AcceptOlderDiskReply { replicas } = answer.await?;
            let replicas = replicas.into_iter().map(|replica| FencedReplica {
                group: GroupId(replica.group_id),
                log_end: Offset(replica.log_end_offset),
            });
            Ok(replicas.collect())
        })
    }

    fn recover_metadata(
        &self,
        route: CallRoute,
        is_dry_run: bool,
        timeout: Duration,
    ) -> PeerAnswer<MetaRecovery> {
        let request = proto::RecoverMetadataRequest {
            route: Some(route_to_proto(route, GroupId::META)),
            dry_run: is_dry_run,
        };
        let limit = Limit("RecoverMetadata", timeout);
        let answer = call(self.node(route.to), limit, |mut node| async move {
            node.recover_metadata(request).await
        });
        Box::pin(async move {
            let proto::RecoverMetadataReply {
                recovery_epoch,
                last_index,
                last_term,
                following,
                lost,
            } = answer.await?;
            let ids = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
            Ok(MetaRecovery {
                node: route.to,
                epoch: RecoveryEpoch(recovery_epoch),
                last: Some(LogId {
                    term: Term(last_term),
                    index: LogIndex(last_index),
                }),
                following: ids(following),
                lost: ids(lost),
            })
        })
    }

    fn join(&self, address: Arc<str>, join: JoinCall, timeout: Duration) -> PeerAnswer<JoinAnswer> {
        let JoinCall {
            registration,
            level,
        } = join;
        let Registration {
            token,
            name,
            client_address,
            peer_address,
            zone,
        } = registration;
        let request = JoinRequest {
            registration_token: token.to_string(),
            name,
            client_address,
            peer_address,
            zone,
            feature_level: level.get(),
        };
        let admin = self
            .channel_to(&address.into())
            .map(AdminServiceClient::new);
        let answer = call(admin, Limit("Join", timeout), |mut admin| async move {
            admin.join(request).await
        });
        Box::pin(async move { join_answer(answer.await?) })
    }
}

impl PeerPool {
    fn node(&self, to: NodeId) -> Result<NodeServiceClient<Channel>, ChannelError> {
        self.channel(to, ChannelClass::Control).map(node_client)
    }
}

fn node_client(channel: Channel) -> NodeServiceClient<Channel> {
    NodeServiceClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
}

fn describe(
    node: Result<NodeServiceClient<Channel>, ChannelError>,
    request: proto::DescribeNodeRequest,
    timeout: Duration,
) -> PeerAnswer<NodeReport> {
    let limit = Limit("DescribeNode", timeout);
    let answer = call(node, limit, |mut node| async move {
        node.describe_node(request).await
    });
    Box::pin(async move { Ok(node_report::from_proto(answer.await?)) })
}

/// The name of a call and its time limit.
struct Limit(&'static str, Duration);

/// One request and one answer within a time limit.
fn call<C, T, F>(
    client: Result<C, ChannelError>,
    Limit(name, timeout): Limit,
    send: impl FnOnce(C) -> F + Send + 'static,
) -> PeerAnswer<T>
where
    C: Send + 'static,
    F: Future<Output = Result<tonic::Response<T>, Status>> + Send,
{
    Box::pin(async move {
        let client = client.map_err(|error| unreachable(&error))?;
        match tokio::time::timeout(timeout, send(client)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(failed(&status, name)),
            Err(_) => Err(PeerCallError {
                failure: PeerFailure::Timeout,
                text: format!("no answer within {timeout:?}"),
            }),
        }
    })
}

fn unreachable(error: &ChannelError) -> PeerCallError {
    PeerCallError {
        failure: PeerFailure::Unavailable,
        text: error_chain(error),
    }
}

/// The failure in a status of a call: an error of the API if it carries one, otherwise by its code.
fn failed(status: &Status, call: &'static str) -> PeerCallError {
    if is_unknown_call(status) {
        return PeerCallError {
            failure: PeerFailure::UnknownCall(call),
            text: format!("the node does not know the call {call}: it runs an older version"),
        };
    }
    let failure = match (error_of(status), status.code()) {
        (Some(error), _) => PeerFailure::Refused(Box::new(error)),
        (None, Code::DeadlineExceeded) => PeerFailure::Timeout,
        // The node service answers with this code when a command is in no log.
        (None, Code::Aborted) => PeerFailure::NotExecuted,
        (None, Code::FailedPrecondition) => PeerFailure::FailedPrecondition,
        (None, _) => PeerFailure::Unavailable,
    };
    PeerCallError {
        failure,
        text: cut_text(status.message()).to_owned(),
    }
}

fn route_to_proto(route: CallRoute, group: GroupId) -> proto::Route {
    let CallRoute {
        from: Member { cluster, node },
        to,
    } = route;
    let route = Route {
        cluster,
        from: node,
        to,
        group,
        epoch: RecoveryEpoch::ZERO,
    };
    route.to_proto()
}

fn change_from_proto(hint: &proto::LeaderHint) -> LeaderChange {
    let proto::LeaderHint {
        group_id,
        term,
        leads,
    } = *hint;
    LeaderChange {
        group: GroupId(group_id),
        term: Term(term),
        leads,
    }
}

fn join_answer(reply: JoinReply) -> Result<JoinAnswer, PeerCallError> {
    let malformed = |text: String| PeerCallError {
        failure: PeerFailure::MalformedAnswer,
        text,
    };
    let JoinReply {
        cluster_id,
        node_id,
        members,
    } = reply;
    let cluster: ClusterId = cluster_id
        .parse()
        .map_err(|_| malformed(format!("cluster_id must be a UUID, got {cluster_id:?}")))?;
    if node_id == 0 {
        return Err(malformed("node_id must be positive, got 0".to_owned()));
    }
    let members = members
        .into_iter()
        .map(|member| (NodeId(member.node_id), member.peer_address.into()));
    Ok(JoinAnswer {
        member: Member {
            cluster,
            node: NodeId(node_id),
        },
        members: members.collect(),
    })
}

#[cfg(test)]
mod tests {
    use lograft_core::{Reason, ReceivedReason};

    use super::*;
    use crate::error::ApiError;

    #[test]
    fn the_failure_in_a_status_is_the_error_of_the_peer() {
        let newer = ReceivedReason::from_wire("OF_A_LATER_VERSION", 14, Some(false)).unwrap();
        for reason in [newer, Reason::NodeDecommissioned.into()] {
            let error = ApiError::new(reason, "not today").with("hint", "later");
            let found = failed(&Status::from(error.clone()), "MoveLeader");
            assert_eq!(found.failure, PeerFailure::Refused(Box::new(error)));
            assert_eq!(found.text, "not today");
        }
    }

    #[test]
    fn a_call_that_the_peer_does_not_have_is_named() {
        let found = failed(&Status::unimplemented(""), "MoveLeader");
        assert_eq!(found.failure, PeerFailure::UnknownCall("MoveLeader"));
        assert_eq!(
            found.text,
            "the node does not know the call MoveLeader: it runs an older version"
        );
    }

    #[test]
    fn a_status_without_a_reason_is_read_by_its_code() {
        let failure = |status: Status| failed(&status, "ProposeMeta").failure;
        let not_executed = Status::aborted("not the leader");
        assert_eq!(failure(not_executed), PeerFailure::NotExecuted);
        let late = Status::deadline_exceeded("late");
        assert_eq!(failure(late), PeerFailure::Timeout);
        let no_voter = Status::failed_precondition("no voter");
        assert_eq!(failure(no_voter), PeerFailure::FailedPrecondition);
        assert_eq!(failure(Status::unknown("lost")), PeerFailure::Unavailable);
    }

    #[test]
    fn a_join_reply_without_a_cluster_or_a_node_is_malformed() {
        let reply = |cluster_id: &str, node_id| JoinReply {
            cluster_id: cluster_id.to_owned(),
            node_id,
            members: Vec::new(),
        };
        let cluster = ClusterId::from_bytes([7; 16]);
        let joined = join_answer(reply(&cluster.to_string(), 3)).unwrap();
        assert_eq!(
            (joined.member.cluster, joined.member.node),
            (cluster, NodeId(3))
        );
        for malformed in [reply("x", 3), reply(&cluster.to_string(), 0)] {
            let error = join_answer(malformed).unwrap_err();
            assert_eq!(error.failure, PeerFailure::MalformedAnswer);
        }
    }
}
