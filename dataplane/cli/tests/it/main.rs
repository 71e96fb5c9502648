//! The program as people and scripts meet it: its real binary, its real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::panic, reason = "a test that cannot go on fails")]

mod contexts;
mod dev;
mod help;
mod refused;
mod support;
