//! Who may call what on which port, and under whose id: by real connections.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use lograft_core::metadata::{Command, Registration, RegistrationToken};
use lograft_core::{ClusterId, NodeId};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::node_service_client::NodeServiceClient;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::{Service, ServiceExt};

use crate::cluster::{CLUSTER_ID, Cluster, eventually};

const NODES_PACKAGE: &str = "lograft.raft.v1";

/// The paths of all calls of a package.
fn calls(package: &str) -> Vec<String> {
    let all = FileDescriptorSet::decode(lograft_proto::FILE_DESCRIPTOR_SET).unwrap();
    let files = all.file.iter().filter(|file| file.package() == package);
    let services = files.flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            let path = |method: &prost_types::MethodDescriptorProto| {
                format!("/{package}.{}/{}", service.name(), method.name())
            };
            service.method.iter().map(path)
        })
        .collect()
}

/// Makes any call with one message. Returns its status, if that is known before a reply.
async fn call(channel: &Channel, path: &str, message: &[u8]) -> Code {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    let request = http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Full::new(frame.freeze())))
        .unwrap();
    let mut channel = channel.clone();
    let reply = channel.ready().await.unwrap().call(request).await.unwrap();
    let status = reply.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

async fn services(channel: Channel) -> Result<BTreeSet<String>, tonic::Status> {
    let request = MessageRequest::ListServices(String::new());
    let MessageResponse::ListServicesResponse(list) = reflect(channel, request).await? else {
        panic!("not a list");
    };
    Ok(list.service.into_iter().map(|s| s.name).collect())
}

async fn reflect(
    channel: Channel,
    request: MessageRequest,
) -> Result<MessageResponse, tonic::Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let mut client = ServerReflectionClient::new(channel);
    let replies = client.server_reflection_info(tokio_stream::once(request));
    let reply = replies.await?.into_inner().message().await?;
    Ok(reply.unwrap().message_response.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_what_its_port_serves_and_nothing_else() {
    let cluster = Cluster::of(1).await;
    let to = cluster.addresses(0);
    let user = cluster.channel_of("user/alice", to.client);
    let listed = services(user.clone()).await.unwrap();
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "lograft.admin.v1.AccessService",
        "lograft.admin.v1.AdminService",
        "lograft.log.v1.GroupService",
        "lograft.log.v1.LogService",
    ];
    assert_eq!(listed, expected.map(str::to_owned).into());
    for service in &listed {
        let code = call(&user, &format!("/{service}/NoSuchCall"), b"").await;
        assert_eq!(code, Code::Unimplemented, "{service}");
    }
    // Not even the shape of the others is told.
    let symbol = format!("{NODES_PACKAGE}.NodeService");
    let request = MessageRequest::FileContainingSymbol(symbol);
    let refused = reflect(user, request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");

    let node = cluster.channel_of("node/n0", to.peer);
    let refused = services(node).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_reaches_no_call_between_nodes() {
    let cluster = Cluster::of(1).await;
    let client_port = cluster.addresses(0).client;
    let calls = calls(NODES_PACKAGE);
    assert!(calls.len() >= 12, "{calls:?}");
    for role in ["user/alice", "operator", "node/n0"] {
        let channel = cluster.channel_of(role, client_port);
        for path in &calls {
            let code = call(&channel, path, b"").await;
            assert_eq!(code, Code::Unimplemented, "{role} {path}");
        }
    }
    let join = "/lograft.admin.v1.AdminService/Join";
    for role in ["user/alice", "operator"] {
        let channel = cluster.channel_of(role, client_port);
        let code = call(&channel, join, b"").await;
        assert_eq!(code, Code::PermissionDenied, "{role}");
    }
    let node = cluster.channel_of("node/n0", client_port);
    let join_as = async |name: &str| {
        let request = lograft_proto::admin::v1::JoinRequest {
            name: name.to_owned(),
            ..lograft_proto::admin::v1::JoinRequest::default()
        };
        call(&node, join, &request.encode_to_vec()).await
    };
    assert_eq!(join_as("n1").await, Code::PermissionDenied, "another name");
    assert_eq!(join_as("n0").await, Code::InvalidArgument, "only no token");
}

fn route(from: u64, to: u64) -> proto::Route {
    let cluster: ClusterId = CLUSTER_ID.parse().unwrap();
    proto::Route {
        cluster_id: Bytes::copy_from_slice(&cluster.to_bytes()),
        from_node: from,
        to_node: to,
        group_id: 0,
        recovery_epoch: 0,
    }
}

/// A request of the call with nothing but this route.
fn routed(path: &str, route: proto::Route) -> Vec<u8> {
    let head = proto::SnapshotHead {
        route: Some(route.clone()),
        ..proto::SnapshotHead::default()
    };
    if path.ends_with("/InstallSnapshot") {
        let head = Some(head);
        return proto::SnapshotChunk {
            head,
            ..proto::SnapshotChunk::default()
        }
        .encode_to_vec();
    }
    // The route is the first field of every other request.
    let route = Some(route);
    proto::VoteRequest {
        route,
        ..proto::VoteRequest::default()
    }
    .encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cannot_speak_for_another() {
    let cluster = Cluster::of(3).await;
    let mut ids = Vec::new();
    for at in 0..3 {
        ids.push(cluster.id_of(at).await);
    }
    let to = cluster.addresses(0).peer;
    let own = cluster.channel_of("node/n2", to);
    let stranger = cluster.channel_of("node/n9", to);
    let calls = calls(NODES_PACKAGE);
    for path in &calls {
        let claims_other = routed(path, route(ids[1], ids[0]));
        let code = call(&own, path, &claims_other).await;
        assert_eq!(code, Code::PermissionDenied, "{path}");
        // It may be a node that has been renamed, which watches.
        let code = call(&stranger, path, &claims_other).await;
        let is_watching = path.ends_with("/WatchLeaders");
        assert_eq!(code == Code::PermissionDenied, !is_watching, "{path}");
    }
    for name in [
        "Heartbeats",
        "Vote",
        "DescribeNode",
        "WatchLeaders",
        "CatchUpTarget",
    ] {
        let path = calls
            .iter()
            .find(|path| path.ends_with(&format!("/{name}")));
        let path = path.unwrap();
        let code = call(&own, path, &routed(path, route(ids[2], ids[0]))).await;
        assert_ne!(code, Code::PermissionDenied, "{path}");
    }
    cluster.healthy(0, 3).await;
}

async fn propose(channel: &Channel, route: proto::Route, name: &str) -> Code {
    let registration = Registration {
        token: RegistrationToken::from_random([7; 16]),
        name: name.to_owned(),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:1".to_owned(),
        zone: String::new(),
    };
    let node = NodeId(route.from_node);
    let command = Command::UpdateNode { node, registration };
    let request = proto::ProposeMetaRequest {
        principal: String::new(),
        route: Some(route),
        command: command.encode().unwrap().into(),
    };
    let mut client = NodeServiceClient::new(channel.clone());
    let reply = client.propose_meta(request).await;
    reply.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_registers_itself_alone() {
    let cluster = Cluster::of(2).await;
    let (first, second) = (cluster.id_of(0).await, cluster.id_of(1).await);
    let to = cluster.addresses(0).peer;
    let own = cluster.channel_of("node/n1", to);
    // Under another name than that of its certificate.
    let code = propose(&own, route(second, first), "n5").await;
    assert_eq!(code, Code::PermissionDenied);
    // A node that nobody knows takes over an id: it does not have the token.
    let stranger = cluster.channel_of("node/n9", to);
    let code = propose(&stranger, route(second, first), "n9").await;
    assert_eq!(code, Code::PermissionDenied);
    let names: Vec<_> = cluster
        .describe(0)
        .await
        .nodes
        .into_iter()
        .map(|n| n.name)
        .collect();
    assert_eq!(names, ["n0", "n1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_node_registers_its_new_name() {
    let mut cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    cluster.produce(0, 0, "a").await;
    let id = cluster.id_of(2).await;
    cluster.stop(2).await;
    cluster.rename(2, "n7");
    cluster.restart(2).await;
    eventually("the new name", async || {
        let nodes = cluster.describe(0).await.nodes;
        let renamed = nodes.iter().find(|node| node.node_id == id)?;
        (renamed.name == "n7").then_some(())
    })
    .await;
    cluster.healthy(0, 3).await;
    cluster.produce(2, 0, "b").await;
    assert_eq!(cluster.read_all(2, 0).await, ["a", "b"]);
}
