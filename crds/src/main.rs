//! `crdgen`: writes the YAML of Lograft's CRDs into a folder. It is checked in as `crds/generated`,
//! and a test fails when that is stale. To update it:
//!
//! ```sh
//! cargo run -q -p lograft-crds --bin crdgen crds/generated
//! ```

use std::path::PathBuf;

use lograft_crds::generate::Definition;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("the folder for the files is missing")?;
    for definition in Definition::ALL {
        let path = folder.join(format!("{}.yaml", definition.plural()));
        std::fs::write(path, definition.yaml()?)?;
    }
    Ok(())
}
