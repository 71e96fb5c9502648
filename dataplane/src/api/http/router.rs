//! The routes.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};

use super::error::HttpError;
use super::parts::HttpApi;
use crate::listen::REFUSED_PATH;

use super::{
    cluster, compress, cors, delete_records, fetch, groups, observe, offsets, openapi, produce,
    topics,
};

impl HttpApi {
    /// All routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/openapi.json", get(openapi::serve))
            .route(
                "/v1/topics",
                get(topics::list_topics).post(topics::create_topic),
            )
            .route(
                "/v1/topics/{topic}",
                get(topics::describe_topic)
                    .patch(topics::alter_topic)
                    .delete(topics::delete_topic),
            )
            .route(
                "/v1/topics/{topic}/records",
                get(fetch::consume).post(produce::produce),
            )
            .route(
                "/v1/topics/{topic}/partitions/{partition}/records",
                get(fetch::fetch).delete(delete_records::delete_records),
            )
            .route("/v1/topics/{topic}/offsets", get(offsets::list_offsets))
            .route("/v1/producers", post(produce::init_producer))
            .route("/v1/groups", get(groups::list_groups))
            .route(
                "/v1/groups/{group}",
                get(groups::describe_group).delete(groups::delete_group),
            )
            .route(
                "/v1/groups/{group}/members",
                post(groups::members::join_group),
            )
            .route(
                "/v1/groups/{group}/members/{member}",
                delete(groups::members::leave_group),
            )
            .route(
                "/v1/groups/{group}/members/{member}/heartbeat",
                post(groups::members::heartbeat),
            )
            .route(
                "/v1/groups/{group}/members/{member}/poll",
                post(groups::poll::poll),
            )
            .route(
                "/v1/groups/{group}/offsets",
                get(groups::offsets::group_offsets)
                    .post(groups::offsets::commit_offsets)
                    .delete(groups::offsets::delete_offsets),
            )
            .route("/v1/cluster", get(cluster::describe_cluster))
            .route("/v1/cluster/members", get(cluster::list_members))
            .route(REFUSED_PATH, get(refused_framing))
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .layer(from_fn(compress::compress))
            .layer(from_fn_with_state(self.clone(), cors::cors))
            .layer(from_fn_with_state(self.clone(), observe::observe))
            .with_state(self)
    }
}

async fn not_found(request: Request) -> HttpError {
    HttpError::RouteNotFound {
        path: request.uri().path().to_owned(),
    }
}

async fn not_allowed(request: Request) -> HttpError {
    HttpError::MethodNotAllowed {
        method: request.method().to_string(),
    }
}

/// In place of a request whose framing is ambiguous.
async fn refused_framing() -> HttpError {
    HttpError::BodyMalformed {
        field: "head".to_owned(),
        bound: "lines that end in CRLF, one Host, and one Content-Length or one Transfer-Encoding of \
                chunked, but not both",
        cause: "refused without repair, as RFC 9112 allows".to_owned(),
    }
}
