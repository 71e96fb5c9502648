//! HTTP and JSON for clients. The handlers decode, authorize, call `serving` or `control`, and
//! encode, as the gRPC services do; they decide nothing.

mod answer;
mod authorize;
mod body;
mod bounded_list;
mod cluster;
mod compress;
mod content;
mod cors;
mod delete_records;
mod encoding;
mod error;
mod fetch;
mod groups;
mod media;
mod number;
mod observe;
mod offsets;
mod openapi;
mod parts;
mod problem;
mod produce;
mod query;
mod record;
pub(crate) mod refused;
mod router;
mod topics;

pub(crate) use parts::{HttpApi, HttpParts};
