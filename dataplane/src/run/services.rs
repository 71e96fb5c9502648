//! The services of a node and their ports.

use std::sync::{Arc, OnceLock};

use axum::Router;
use lograft_core::MemoryBudgets;
use lograft_proto::admin::v1::access_service_server::AccessServiceServer;
use lograft_proto::admin::v1::admin_service_server::AdminServiceServer;
use lograft_proto::log::v1::group_service_server::GroupServiceServer;
use lograft_proto::log::v1::log_service_server::LogServiceServer;
use lograft_storage::Storage;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder as Reflection;

use super::error::RunError;
use crate::access::Access;
use crate::api::grpc::access_service::AccessApi;
use crate::api::grpc::admin_service::AdminApi;
use crate::api::grpc::client_calls::with_reasons;
use crate::api::grpc::group_service::GroupApi;
use crate::api::grpc::late::Late;
use crate::api::grpc::log_service::LogApi;
use crate::api::grpc::node_service::NodeApi;
use crate::api::grpc::raft_service::RaftApi;
use crate::api::held_reply::hold_replies;
use crate::api::http::{HttpApi, HttpParts};
use crate::config::HttpSettings;
use crate::control::Control;
use crate::health::Readiness;
use crate::identity::Member;
use crate::metrics::Metrics;
use crate::serving::consumer_groups::{GroupEngine, GroupEngineParts};
use crate::serving::engine::{LogEngine, LogEngineParts};
use crate::serving::meta_group::{LeaderHints, MetaHandle};
use crate::serving::reply_memory::ReplyBudget;
use crate::transport::{GrpcForward, PeerPool};

/// The parts that the services use.
#[derive(Clone)]
pub(super) struct ServiceParts {
    pub(super) control: Control,
    pub(super) storage: Storage,
    pub(super) budgets: MemoryBudgets,
    pub(super) pool: PeerPool,
    pub(super) access: Access,
    pub(super) metrics: Arc<Metrics>,
}

/// The services; one instance of each for both ports.
pub(super) struct Services {
    parts: ServiceParts,
    log: Arc<OnceLock<LogServiceServer<LogApi>>>,
    groups: Arc<OnceLock<GroupServiceServer<GroupApi>>>,
    /// The engine of the log service, for HTTP.
    engine: Arc<OnceLock<Arc<LogEngine>>>,
    /// The engine of the group service, for HTTP.
    group_engine: Arc<OnceLock<Arc<GroupEngine>>>,
    reporter: HealthReporter,
}

/// The services whose health is reported, and the node as a whole under the empty name.
const TOLD: [&str; 5] = [
    "",
    LogServiceServer::<LogApi>::NAME,
    GroupServiceServer::<GroupApi>::NAME,
    AdminServiceServer::<AdminApi>::NAME,
    AccessServiceServer::<AccessApi>::NAME,
];

impl Services {
    pub(super) fn new(parts: ServiceParts) -> Self {
        Self {
            parts,
            log: Arc::default(),
            groups: Arc::default(),
            engine: Arc::default(),
            group_engine: Arc::default(),
            reporter: HealthReporter::new(),
        }
    }

    /// Reports to clients whether the services are ready.
    pub(super) fn reporter(&self) -> HealthReporter {
        self.reporter.clone()
    }

    fn shared(&self) -> Routes {
        let ServiceParts {
            control, access, ..
        } = &self.parts;
        let log = Routes::new(Late::new(Arc::clone(&self.log), control.clone()))
            .add_service(Late::new(Arc::clone(&self.groups), control.clone()));
        // Of the others, no reply is large.
        Routes::from(hold_replies(log.into_axum_router()))
            .add_service(AdminApi::server(control.clone(), access.clone()))
    }

    /// For users, the operator and nodes.
    pub(super) fn client_port(&self) -> Result<Routes, RunError> {
        let health: HealthServer<HealthService> =
            HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()));
        // Exactly the services of this port. Each version of reflection adds itself.
        let reflection = |other_version| {
            Reflection::configure()
                .register_encoded_file_descriptor_set(lograft_proto::CLIENT_FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(other_version)
        };
        let v1 = reflection(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET).build_v1();
        let v1alpha = reflection(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET).build_v1alpha();
        let routes = self
            .shared()
            .add_service(health)
            .add_service(AccessApi::server(
                self.parts.control.clone(),
                self.parts.access.clone(),
            ))
            .add_service(v1.map_err(RunError::Reflection)?)
            .add_service(v1alpha.map_err(RunError::Reflection)?);
        Ok(with_reasons(routes))
    }

    /// For users, over HTTP.
    pub(super) fn http_port(&self, settings: &HttpSettings) -> Router {
        let ServiceParts {
            control,
            access,
            metrics,
            ..
        } = &self.parts;
        let api = HttpApi::new(HttpParts {
            engine: Arc::clone(&self.engine),
            groups: Arc::clone(&self.group_engine),
            control: control.clone(),
            access: access.clone(),
            metrics: Arc::clone(metrics),
            settings: settings.clone(),
        });
        hold_replies(api.router())
    }

    /// For nodes.
    pub(super) fn peer_port(&self) -> Routes {
        let control = &self.parts.control;
        self.shared()
            .add_service(RaftApi::server(
                Arc::new(control.clone()),
                control.exchange.clone(),
            ))
            .add_service(NodeApi::server(control.clone(), self.parts.access.clone()))
    }

    /// Publishes control's readiness until dropped; builds the log service once
    /// the node is a member.
    pub(super) fn follow(
        &self,
        told: watch::Sender<Readiness>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (parts, log) = (self.parts.clone(), Arc::clone(&self.log));
        let groups = Arc::clone(&self.groups);
        let engine = Arc::clone(&self.engine);
        let group_engine = Arc::clone(&self.group_engine);
        let reporter = self.reporter.clone();
        async move {
            let mut readiness = parts.control.readiness.watch();
            let mut member = parts.control.member.watch();
            // They end with this future.
            let mut running = JoinSet::new();
            loop {
                if let Some(member) = *member.borrow_and_update() {
                    let engine = engine.get_or_init(|| Arc::new(log_engine(&parts, member)));
                    log.get_or_init(|| {
                        LogApi::new(Arc::clone(engine), parts.access.clone()).server()
                    });
                    let engine = group_engine.get_or_init(|| {
                        let engine = Arc::new(new_group_engine(&parts, engine));
                        running.spawn(Arc::clone(&engine).run());
                        engine
                    });
                    groups.get_or_init(|| {
                        GroupApi::new(Arc::clone(engine), parts.access.clone()).server()
                    });
                }
                let now = readiness.borrow_and_update().clone();
                tell(&reporter, &now).await;
                told.send_replace(now);
                tokio::select! {
                    changed = readiness.changed() => if changed.is_err() { return },
                    changed = member.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

pub(super) async fn tell(reporter: &HealthReporter, readiness: &Readiness) {
    let status = match readiness {
        Readiness::Ready => ServingStatus::Serving,
        Readiness::Waiting(_) => ServingStatus::NotServing,
    };
    for name in TOLD {
        reporter.set_service_status(name, status).await;
    }
}

fn new_group_engine(parts: &ServiceParts, log: &Arc<LogEngine>) -> GroupEngine {
    GroupEngine::new(GroupEngineParts {
        log: Arc::clone(log),
        forward: Arc::new(GrpcForward::new(
            Arc::new(parts.pool.clone()),
            &parts.metrics,
        )),
        rights: Arc::new(parts.access.clone()),
        creator: Arc::new(parts.control.coordinators.clone()),
        metrics: Arc::clone(&parts.metrics),
    })
}

fn log_engine(parts: &ServiceParts, member: Member) -> LogEngine {
    let ServiceParts {
        control,
        storage,
        budgets,
        pool,
        access: _,
        metrics,
    } = parts;
    LogEngine::new(LogEngineParts {
        node: member.node,
        replicas: control.replicas.clone(),
        meta: control.view.clone(),
        meta_handle: Arc::clone(&control.proposer) as MetaHandle,
        hints: Arc::new(control.leaders.clone()) as Arc<dyn LeaderHints>,
        forward: Arc::new(GrpcForward::new(Arc::new(pool.clone()), metrics)),
        storage: storage.clone(),
        exchange: control.exchange.clone(),
        budgets: *budgets,
        replies: ReplyBudget::new(budgets.replies_bytes, &metrics.replies_held_bytes),
        clock: Arc::new(control.exchange.clone()),
        metrics: Arc::clone(metrics),
    })
}
