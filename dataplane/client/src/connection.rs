//! Connections to nodes: TCP, TLS, and the reasons why a connection cannot be opened.

pub(crate) mod connector;
pub(crate) mod dial;
pub(crate) mod dial_error;
pub(crate) mod tls;
mod tls_alert;
pub(crate) mod tls_source;
