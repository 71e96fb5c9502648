//! `crdgen`: prints the YAML of Lograft's CRDs. It is checked in as `crds/generated`, and a test
//! fails when that is stale. To update it:
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
