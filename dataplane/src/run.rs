//! A whole node: start, run, orderly shutdown.
//!
//! Start: TLS files, storage (which locks the data directory), ports bound, control, ports served.
//! Stop: not ready, leaderships transferred, client port closed after its calls have ended,
//! replicas stopped and their logs flushed, peer port closed.

mod client_ports;
mod control_resources;
mod discovery;
mod disk;
mod error;
mod exit_code;
mod node;
mod node_env;
mod port;
mod ports;
mod process;
mod sampler;
mod services;
mod stop;

pub use discovery::DiscoveryError;
pub use error::RunError;
pub use exit_code::{EXIT_CONFIG, EXIT_FAILED, EXIT_FATAL};
pub use node::Node;
pub use node_env::NodeEnv;
pub use ports::Addresses;
pub use process::{main, run};
