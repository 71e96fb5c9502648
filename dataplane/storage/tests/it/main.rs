//! Tests of the public interface: one conformance suite on a real and on a simulated disk, and
//! thousands of seeded runs with crashes and disk faults.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first failure"
)]

mod concurrency;
mod conformance;
mod crashes;
mod data_directories;
mod disk_room;
mod failed_reads;
#[path = "../../../core/tests/support/fixtures.rs"]
#[expect(dead_code, reason = "only whole directories are compared here")]
mod fixtures;
mod identities;
mod model;
mod newer_versions;
mod salvage;
mod setup;
mod time_search;
mod truncation_race;
