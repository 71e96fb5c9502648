//! Whole nodes in one process, on loopback, over real mTLS and real files.

mod cluster;
mod lifecycle;
mod ports;

#[path = "../support/pki.rs"]
mod pki;
