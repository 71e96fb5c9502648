//! Tests of the real binary with real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]
#![expect(clippy::panic, reason = "a test that cannot continue fails")]

mod completion;
mod contexts;
mod dev;
mod help;
mod recreated;
mod refused;
mod support;
