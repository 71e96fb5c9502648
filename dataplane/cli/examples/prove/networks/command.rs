//! The system's tools for namespaces and links.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// Tools that the test needs, and what has them.
const TOOLS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
];

/// Fails unless this process is root and all tools are installed.
pub(super) fn check() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root: run this command as root"
    );
    for (tool, package) in TOOLS {
        let found = Command::new(tool)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        ensure!(found.is_ok(), "{tool} not found: install {package}");
    }
    Ok(())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// Runs a tool with arguments separated by spaces, and returns its output.
pub(super) fn run(program: &str, args: &str) -> Result<String> {
    let output = Command::new(program)
        .args(args.split(' '))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {args}: {}",
        text(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a tool inside a namespace, with this text as its input.
pub(super) fn feed(namespace: &str, args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip")?;
    let mut pipe = child.stdin.take().context("no input")?;
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        args.join(" "),
        text(&output)
    );
    Ok(())
}
