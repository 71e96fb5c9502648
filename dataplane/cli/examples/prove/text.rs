//! A real text through the CLI and back: byte for byte from one partition, in order per key from
//! twelve.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cluster::{Cluster, Place};

/// Which text.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Text {
    /// A text file: lines that end in a line feed, no tabs before their first word.
    #[arg(long)]
    file: PathBuf,
    /// Fewest lines that it must have.
    #[arg(long, default_value_t = 1_000_000)]
    least_lines: usize,
}

impl Text {
    /// Runs both; fails at the first difference.
    pub(crate) fn run(&self, place: &Place) -> Result<()> {
        let text = fs::read(&self.file)?;
        ensure!(text.ends_with(b"\n"), "the last line has no end");
        let count = memchr::memchr_iter(b'\n', &text).count();
        ensure!(
            count >= self.least_lines,
            "{count} lines, fewer than {}",
            self.least_lines
        );
        let folder = place.empty("text")?;
        let cluster = Cluster::start(&place.program()?, &folder, 3)?;

        let back = folder.join("back");
        through(&cluster, "one", 1, (&self.file, &back), &[])?;
        ensure!(
            fs::read(&back)? == text,
            "what came back differs: {}",
            back.display()
        );
        println!(
            "{count} lines, {} bytes: byte for byte through 1 partition",
            text.len()
        );

        let keyed = folder.join("keyed");
        write_keyed(&text, &keyed)?;
        through(
            &cluster,
            "twelve",
            12,
            (&keyed, &back),
            &["--key-separator", "\t"],
        )?;
        let (sent, read) = (fs::read(&keyed)?, fs::read(&back)?);
        let (sent, read) = (by_key(&sent), by_key(&read));
        ensure!(sent == read, "keys differ, or the order of one of them");
        println!(
            "{count} lines under {} keys: in order per key through 12 partitions",
            sent.len()
        );
        cluster.stop()
    }
}

/// Produces `from`, consumes into `to`.
fn through(
    cluster: &Cluster,
    topic: &str,
    partitions: u32,
    (from, to): (&Path, &Path),
    more: &[&str],
) -> Result<()> {
    let partitions = partitions.to_string();
    let shape = ["--partitions", &partitions, "--replication-factor", "3"];
    cluster.cli(&[&["topic", "create", topic], &shape[..]].concat())?;
    let run = |args: &[&str], input: Stdio, output: Stdio| -> Result<()> {
        let status = cluster.command(args).stdin(input).stdout(output).status()?;
        ensure!(status.success(), "lograft {}: {status}", args.join(" "));
        Ok(())
    };
    let begin = Instant::now();
    let produce = [&["produce", topic, "--quiet"], more].concat();
    run(&produce, File::open(from)?.into(), Stdio::null())?;
    let produced = begin.elapsed();
    let consume = [&["consume", topic, "--from", "earliest", "--quiet"], more].concat();
    run(&consume, Stdio::null(), File::create(to)?.into())?;
    let consumed = begin.elapsed().saturating_sub(produced);
    println!("{topic}: produced in {produced:.2?}, consumed in {consumed:.2?}");
    Ok(())
}

/// Puts each line's first word before it, as its key.
fn write_keyed(text: &[u8], path: &Path) -> Result<()> {
    let mut out = std::io::BufWriter::new(File::create(path)?);
    for line in text.split_inclusive(|b| *b == b'\n') {
        let end = line
            .iter()
            .position(|b| matches!(b, b' ' | b':' | b'\t' | b'\n'));
        out.write_all(&line[..end.unwrap_or(0)])?;
        out.write_all(b"\t")?;
        out.write_all(line)?;
    }
    Ok(out.flush()?)
}

/// The lines of each key, in their order.
fn by_key(text: &[u8]) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut keys = BTreeMap::<&[u8], Vec<&[u8]>>::new();
    for line in text.split_inclusive(|b| *b == b'\n') {
        let end = line.iter().position(|b| *b == b'\t').unwrap_or(0);
        keys.entry(&line[..end]).or_default().push(line);
    }
    keys
}
