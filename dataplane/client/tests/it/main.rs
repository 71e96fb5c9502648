//! The client against a cluster of fakes: real connections over loopback with mTLS, and nodes that
//! fail as they are told. The fakes check sequences as a leader does.

mod certs;
mod connect;
mod consume;
mod fake;
mod produce;
