//! `crdgen`: prints the YAML of Lograft's custom resources. `crds/generated` holds it, and a test
//! says when it is stale:
//!
//! ```sh
//! cargo run -q -p lograft-crds --bin crdgen > crds/generated/logclusters.yaml
//! ```

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = lograft_crds::generate::log_cluster_yaml()?;
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
