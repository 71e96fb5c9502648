//! What nodes ask of each other besides raft, on the peer port.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use lograft_core::metadata::Outcome;
use lograft_core::{GroupId, NodeId, Term};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::node_service_server::{NodeService, NodeServiceServer};
use lograft_raft::RaftError;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::api::grpc::raft_service::{admit, require_node};
use crate::control::propose::Attempt;
use crate::control::{Control, leader_changes};
use crate::convert::Route;
use crate::error_text::error_chain;

/// Hands requests to control.
pub struct NodeApi {
    control: Arc<Control>,
}

impl NodeApi {
    /// The service over a node's control.
    pub fn server(control: Arc<Control>) -> NodeServiceServer<Self> {
        NodeServiceServer::new(Self { control })
    }

    fn admit(&self, route: Option<&proto::Route>) -> Result<Route, Status> {
        let route = Route::from_proto(route)
            .map_err(|error| Status::invalid_argument(error_chain(&error)))?;
        admit(&*self.control, route)?;
        Ok(route)
    }
}

type Hints = BoxStream<'static, Result<proto::LeaderHints, Status>>;

#[tonic::async_trait]
impl NodeService for NodeApi {
    async fn propose_meta(
        &self,
        request: Request<proto::ProposeMetaRequest>,
    ) -> Result<Response<proto::ProposeMetaReply>, Status> {
        require_node(&request)?;
        let proto::ProposeMetaRequest { route, command } = request.into_inner();
        self.admit(route.as_ref())?;
        match self.control.attempt_here(&command).await {
            Attempt::Applied(index, result) => {
                let outcome = Outcome::encode(&result)
                    .map_err(|error| Status::internal(error_chain(&error)))?;
                let outcome = outcome.into();
                Ok(Response::new(proto::ProposeMetaReply {
                    outcome,
                    index: index.get(),
                }))
            }
            // The code says that the command is in no log.
            Attempt::NotProposed(text) => Err(Status::aborted(text)),
            Attempt::Unknown(text) => Err(Status::unknown(text)),
        }
    }

    async fn describe_node(
        &self,
        request: Request<proto::DescribeNodeRequest>,
    ) -> Result<Response<proto::NodeReport>, Status> {
        require_node(&request)?;
        // Who asks an address only wants to know who is there.
        if let Some(route) = request.into_inner().route {
            self.admit(Some(&route))?;
        }
        Ok(Response::new(self.control.report()))
    }

    type WatchLeadersStream = Hints;

    async fn watch_leaders(
        &self,
        request: Request<proto::WatchLeadersRequest>,
    ) -> Result<Response<Hints>, Status> {
        require_node(&request)?;
        self.admit(request.into_inner().route.as_ref())?;
        Ok(Response::new(leaderships(self.control.watch_led())))
    }

    async fn move_leader(
        &self,
        request: Request<proto::MoveLeaderRequest>,
    ) -> Result<Response<proto::MoveLeaderReply>, Status> {
        require_node(&request)?;
        let proto::MoveLeaderRequest { route, to_node } = request.into_inner();
        let route = self.admit(route.as_ref())?;
        let (leader, term) = move_leader(&self.control, route.group, NodeId(to_node))
            .await
            .map_err(|error| transfer_status(&error))?;
        let reply = proto::MoveLeaderReply {
            leader_node: leader.get(),
            term: term.get(),
        };
        Ok(Response::new(reply))
    }
}

/// Hands over a leadership that this node has. Returns who leads then.
pub(crate) async fn move_leader(
    control: &Control,
    group: GroupId,
    to: NodeId,
) -> Result<(NodeId, Term), RaftError> {
    let raft = control
        .replicas()
        .raft(group)
        .ok_or(RaftError::NotLeader { leader: None })?;
    raft.transfer_leader(to).await?;
    Ok((to, raft.status().term))
}

fn transfer_status(error: &RaftError) -> Status {
    let text = error_chain(error);
    match error {
        RaftError::NotVoter { .. } => Status::failed_precondition(text),
        RaftError::Timeout { .. } => Status::deadline_exceeded(text),
        _ => Status::unavailable(text),
    }
}

type Led = Arc<BTreeMap<GroupId, Term>>;

/// All groups led, then each change.
fn leaderships(led: watch::Receiver<Led>) -> Hints {
    let first = (led, None::<Led>);
    let hints = stream::unfold(first, |(mut led, told)| async move {
        let told = match told {
            None => Led::default(),
            Some(told) => {
                led.changed().await.ok()?;
                told
            }
        };
        let now = Arc::clone(&led.borrow_and_update());
        let hints = proto::LeaderHints {
            hints: leader_changes(&told, &now),
        };
        Some((Ok(hints), (led, Some(now))))
    });
    hints.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(groups: &[u64]) -> Led {
        Arc::new(
            groups
                .iter()
                .map(|group| (GroupId(*group), Term(1)))
                .collect(),
        )
    }

    #[tokio::test]
    async fn leaderships_are_told_at_once_and_as_they_change() {
        let leads = watch::Sender::new(led(&[]));
        let mut hints = leaderships(leads.subscribe());
        let mut next = async || -> Vec<(u64, bool)> {
            let batch = hints.next().await.unwrap().unwrap();
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
        leads.send_replace(led(&[3, 4]));
        assert_eq!(next().await, [(3, true), (4, true)]);
        leads.send_replace(led(&[4]));
        assert_eq!(next().await, [(3, false)]);
        drop(leads);
        assert!(hints.next().await.is_none());
    }
}
