//! An ext4 file system on a loop device, mounted at the data folder of a node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(super) struct LoopDisk {
    /// Name of the node.
    pub(super) name: String,
    mount: PathBuf,
}

/// A frozen file system; thawed when dropped.
#[derive(Debug)]
pub(super) struct Frozen<'a>(&'a LoopDisk);

fn run(program: &str, args: &[&Path]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} failed (root is needed): {error}"
    );
    Ok(())
}

impl LoopDisk {
    /// Creates and mounts a file system of `bytes` for a node of the cluster in `folder`.
    pub(super) fn mount(folder: &Path, name: &str, bytes: u64) -> Result<Self> {
        let image = folder.join(format!("{name}.img"));
        File::create(&image)?.set_len(bytes)?;
        let mount = folder.join("data").join(name);
        fs::create_dir_all(&mount)?;
        run("mkfs.ext4", &[Path::new("-q"), &image])?;
        run(
            "mount",
            &[Path::new("-o"), Path::new("loop"), &image, &mount],
        )?;
        Ok(Self {
            name: name.to_owned(),
            mount,
        })
    }

    /// Blocks all writes.
    pub(super) fn freeze(&self) -> Result<Frozen<'_>> {
        run("fsfreeze", &[Path::new("-f"), &self.mount])?;
        Ok(Frozen(self))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = run("fsfreeze", &[Path::new("-u"), &self.0.mount]) {
            eprintln!("{error:#}");
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily: a node that is killed may still hold its files for a moment.
        if let Err(error) = run("umount", &[Path::new("-l"), &self.mount]) {
            eprintln!("{error:#}");
        }
    }
}
