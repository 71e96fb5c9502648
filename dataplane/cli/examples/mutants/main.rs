//! Breaks safety lines one at a time, and checks that a test notices each.
//!
//! The lines are in `dataplane/core/tests/mutants/table.txt`. They are broken in a worktree of the
//! current commit, with a target directory of its own: `just mutants --help`. It takes minutes per
//! mutant, and is no part of the gate.

#[path = "../../../core/tests/mutants/table.rs"]
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use table::Mutant;

/// Time for a build, or for the tests of a mutant.
const TEST_MAX_SECONDS: &str = "1200";
const TABLE: &str = "dataplane/core/tests/mutants/table.txt";

/// Break safety lines one at a time and check that a test notices each.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only mutants whose file, line or package contains this text
    filter: Option<String>,
    /// List the mutants without running them
    #[arg(long)]
    list: bool,
    /// Directory of the worktree and of its build
    #[arg(long, default_value = "target/mutants")]
    dir: PathBuf,
    /// The program that builds and tests
    #[arg(long, default_value = "cargo")]
    cargo: PathBuf,
}

/// What the tests said about a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A test failed.
    Caught,
    /// All tests passed.
    Survived,
    /// The change does not compile.
    Invalid,
}

/// The worktree in which lines are broken.
struct Scratch {
    cargo: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join(TABLE)).context("cannot read the table")?;
    let all = table::parse(&text).map_err(anyhow::Error::msg)?;
    let is_selected = |mutant: &Mutant| {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        let texts = [&mutant.file, &mutant.line, &mutant.package];
        texts.iter().any(|text| text.contains(filter))
    };
    let selected: Vec<&Mutant> = all.iter().filter(|mutant| is_selected(mutant)).collect();
    ensure!(!selected.is_empty(), "no mutant matches the filter");
    if arguments.list {
        for mutant in selected {
            println!("{}:{}: {}", TABLE, mutant.table_line, mutant.line);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = Scratch::checkout(&root, &arguments)?;
    let mut failed = Vec::new();
    for (number, mutant) in (1..).zip(&selected) {
        let started = Instant::now();
        let verdict = scratch.try_mutant(mutant)?;
        let seconds = started.elapsed().as_secs();
        let Mutant { file, line, .. } = mutant;
        println!(
            "{number}/{} {verdict:?} after {seconds} s: {file}: {line}",
            selected.len()
        );
        if verdict != Verdict::Caught {
            failed.push((verdict, mutant));
        }
    }
    println!(
        "{} of {} mutants were caught",
        selected.len() - failed.len(),
        selected.len()
    );
    for (verdict, mutant) in &failed {
        println!(
            "{verdict:?}: {TABLE}:{}: {}",
            mutant.table_line, mutant.line
        );
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Scratch {
    /// Checks out the current commit.
    fn checkout(root: &Path, arguments: &Arguments) -> Result<Self> {
        let dir = root.join(&arguments.dir);
        fs::create_dir_all(&dir).context("cannot create the directory of the worktree")?;
        let dir = dir.canonicalize()?;
        let scratch = Self {
            cargo: arguments.cargo.clone(),
            tree: dir.join("tree"),
            target: dir.join("build"),
        };
        let head = git(root, &["rev-parse", "HEAD"])?;
        let tree = scratch.tree.to_string_lossy();
        if scratch.tree.join(".git").exists() {
            git(
                &scratch.tree,
                &["checkout", "--quiet", "--force", "--detach", &head],
            )?;
        } else {
            git(
                root,
                &[
                    "worktree", "add", "--quiet", "--force", "--detach", &tree, &head,
                ],
            )?;
        }
        Ok(scratch)
    }

    /// Breaks a line, runs its tests, and restores the line.
    fn try_mutant(&self, mutant: &Mutant) -> Result<Verdict> {
        let path = self.tree.join(&mutant.file);
        let before =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let after = mutant.apply(&before).map_err(anyhow::Error::msg)?;
        fs::write(&path, after).context("cannot break the line")?;
        let verdict = self.verdict(mutant);
        fs::write(&path, before).context("cannot restore the line")?;
        verdict
    }

    fn verdict(&self, mutant: &Mutant) -> Result<Verdict> {
        if !self.test(mutant, &["--no-run"], &[])? {
            return Ok(Verdict::Invalid);
        }
        let is_green = self.test(mutant, &["--no-fail-fast"], &mutant.filters)?;
        Ok(if is_green {
            Verdict::Survived
        } else {
            Verdict::Caught
        })
    }

    /// Whether the tests of a mutant pass.
    fn test(&self, mutant: &Mutant, options: &[&str], filters: &[String]) -> Result<bool> {
        // A broken line may make a test wait without end: `timeout` ends all of its processes, and
        // the line counts as noticed.
        let mut command = Command::new("timeout");
        command
            .arg("--kill-after=5")
            .arg(TEST_MAX_SECONDS)
            .arg(&self.cargo)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .args([
                "test",
                "--quiet",
                "--locked",
                "--tests",
                "-p",
                &mutant.package,
            ])
            .args(options)
            .arg("--")
            .args(filters)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.status().context("cannot run timeout and cargo")?;
        Ok(status.success())
    }
}

fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(dir)
        .args(arguments)
        .output();
    let output = output.context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
