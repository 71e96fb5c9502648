//! Tests of the real binary with real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]
#![expect(clippy::panic, reason = "a test that cannot continue fails")]

mod completion;
mod connection_age;
mod contexts;
mod curl;
mod delete_records;
mod dev;
mod dump;
mod filters;
mod groups;
mod help;
mod other_languages;
mod pipes;
mod recreated;
mod refused;
mod replica_export;
mod replicas;
mod support;
mod terminal;

#[path = "../../../tests/support/pki.rs"]
mod pki;
