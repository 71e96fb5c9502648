//! The OpenAPI description, generated from the handlers and their types. It is served to everybody
//! who may connect: it contains nothing of the cluster.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use utoipa::OpenApi;

use super::answer::{JSON, with_body};
use super::problem::{PROBLEM_JSON, Problem};
use super::{cluster, delete_records, fetch, groups, offsets, produce, topics};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lograft",
        description = "Records, consumer groups, topics and the state of a Lograft cluster over HTTP and JSON. \
            Clients identify themselves by a certificate (mutual TLS). Integers of 64 bits are \
            strings. Errors are problem details (RFC 9457).",
    ),
    tags(
        (name = "records", description = "Appending and reading records"),
        (name = "groups", description = "Consumer groups: members, polls and committed offsets"),
        (name = "topics", description = "Administration of topics"),
        (name = "cluster", description = "State of the cluster"),
    ),
    paths(
        produce::produce,
        produce::init_producer,
        fetch::fetch,
        fetch::consume,
        offsets::list_offsets,
        delete_records::delete_records,
        topics::create_topic,
        topics::alter_topic,
        topics::delete_topic,
        topics::describe_topic,
        topics::list_topics,
        groups::members::join_group,
        groups::members::heartbeat,
        groups::poll::poll,
        groups::members::leave_group,
        groups::offsets::commit_offsets,
        groups::offsets::group_offsets,
        groups::offsets::delete_offsets,
        groups::list_groups,
        groups::describe_group,
        groups::delete_group,
        cluster::describe_cluster,
        cluster::list_members,
    ),
    components(schemas(
        Problem,
        fetch::OpenEvent,
        fetch::EndEvent,
        fetch::LastLine,
    ))
)]
struct Description;

/// The document, as it is served.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Description::openapi()).unwrap_or_default();
    add_problems(&mut document);
    complete(&mut document);
    let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    text.push(b'\n');
    text.into()
});

pub(super) async fn serve() -> Response {
    with_body(StatusCode::OK, JSON, Body::from(DOCUMENT.clone()))
}

/// Every route may answer with problem details.
fn add_problems(document: &mut Value) {
    let problem = serde_json::json!({
        "description": "Why the request failed",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let paths = document["paths"].as_object_mut();
    let routes = paths.into_iter().flat_map(|paths| paths.values_mut());
    let operations = routes
        .filter_map(Value::as_object_mut)
        .flat_map(|route| route.values_mut());
    for operation in operations {
        if let Some(responses) = operation["responses"].as_object_mut() {
            responses.insert("default".to_owned(), problem.clone());
        }
    }
}

/// Adds what the attributes cannot say: raw bytes are binary, and content has one form alone.
fn complete(document: &mut Value) {
    let raw =
        "/paths/~1v1~1topics~1{topic}~1records/post/requestBody/content/application~1octet-stream";
    if let Some(raw) = document.pointer_mut(raw) {
        raw["schema"] = serde_json::json!({"type": "string", "format": "binary"});
    }
    let forms = document.pointer_mut("/components/schemas/Content/oneOf");
    for form in forms.and_then(Value::as_array_mut).into_iter().flatten() {
        form["additionalProperties"] = Value::Bool(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that is checked in; `LOGRAFT_BLESS=1` writes it.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

    #[test]
    fn the_checked_in_document_is_the_served_one() {
        if std::env::var_os("LOGRAFT_BLESS").is_some() {
            std::fs::write(FILE, &*DOCUMENT).unwrap();
        }
        let file = std::fs::read_to_string(FILE).unwrap();
        assert!(
            file.as_bytes() == &**DOCUMENT,
            "docs/openapi.json is not the generated document: run this test with LOGRAFT_BLESS=1"
        );
    }
}
