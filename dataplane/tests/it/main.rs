//! Whole nodes in one process, on loopback, over real mTLS and real files.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod authorization;
mod call_errors;
mod clocks;
mod cluster;
mod connections;
mod control;
mod decommission;
mod delete_records;
mod descriptors;
mod disk;
mod gossip;
mod group_rights;
mod groups;
mod http;
mod http_client;
mod http_groups;
mod http_hostile;
mod http_openapi;
mod http_tail;
mod hung_leader;
mod identities;
mod large_records;
mod levels;
mod lifecycle;
mod links;
mod load;
mod lost_nodes;
mod newer_disk;
mod older_disk;
mod ports;
mod prepare_stop;
mod process;
mod producers;
mod reads;
mod rebalance;
mod replication_factor;
mod resets;
mod revocation;
mod slow_readers;
mod times;
mod user_channel;

#[path = "../support/pki.rs"]
mod pki;
