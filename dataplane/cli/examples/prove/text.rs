//! A text file through the CLI and back: byte for byte with one partition, in order per key with
//! twelve.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cluster::{Cluster, ProveArgs};

/// Options of the text command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Text {
    /// Text file; each line ends in a line feed and has no tab before its first word.
    #[arg(long)]
    file: PathBuf,
    /// Minimum number of lines.
    #[arg(long, default_value_t = 1_000_000)]
    least_lines: usize,
}

impl Text {
    /// Runs both tests. Fails at the first difference.
    pub(crate) fn run(&self, args: &ProveArgs) -> Result<()> {
        let text = fs::read(&self.file)?;
        ensure!(text.ends_with(b"\n"), "last line must end in a line feed");
        let count = memchr::memchr_iter(b'\n', &text).count();
        ensure!(
            count >= self.least_lines,
            "file must have at least {} lines, got {count}",
            self.least_lines
        );
        let folder = args.empty_folder("text")?;
        let cluster = Cluster::start(&args.program()?, &folder, 3)?;

        let back = folder.join("back");
        round_trip(&cluster, "one", 1, (&self.file, &back), &[])?;
        ensure!(
            fs::read(&back)? == text,
            "consumed text differs: {}",
            back.display()
        );
        println!(
            "{count} lines, {} bytes: identical after a round trip with 1 partition",
            text.len()
        );

        let keyed = folder.join("keyed");
        write_keyed(&text, &keyed)?;
        round_trip(
            &cluster,
            "twelve",
            12,
            (&keyed, &back),
            &["--key-separator", "\t"],
        )?;
        let (sent, read) = (fs::read(&keyed)?, fs::read(&back)?);
        let (sent, read) = (by_key(&sent), by_key(&read));
        ensure!(sent == read, "keys or the order of their lines differ");
        println!(
            "{count} lines with {} keys: in order per key with 12 partitions",
            sent.len()
        );
        cluster.stop()
    }
}

/// Produces file `from` and consumes into file `to`.
fn round_trip(
    cluster: &Cluster,
    topic: &str,
    partitions: u32,
    (from, to): (&Path, &Path),
    options: &[&str],
) -> Result<()> {
    let partitions = partitions.to_string();
    let shape = ["--partitions", &partitions, "--replication-factor", "3"];
    cluster.cli(&[&["topic", "create", topic], &shape[..]].concat())?;
    let run = |args: &[&str], input: Stdio, output: Stdio| -> Result<()> {
        let status = cluster.command(args).stdin(input).stdout(output).status()?;
        ensure!(status.success(), "lograft {}: {status}", args.join(" "));
        Ok(())
    };
    let started = Instant::now();
    let produce = [&["produce", topic, "--quiet"], options].concat();
    run(&produce, File::open(from)?.into(), Stdio::null())?;
    let produced = started.elapsed();
    let consume = [
        &["consume", topic, "--from", "earliest", "--quiet"],
        options,
    ]
    .concat();
    run(&consume, Stdio::null(), File::create(to)?.into())?;
    let consumed = started.elapsed().saturating_sub(produced);
    println!("{topic}: produced in {produced:.2?}, consumed in {consumed:.2?}");
    Ok(())
}

/// Prefixes each line with its first word as the key.
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

/// The lines of each key in order.
fn by_key(text: &[u8]) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut keys = BTreeMap::<&[u8], Vec<&[u8]>>::new();
    for line in text.split_inclusive(|b| *b == b'\n') {
        let end = line.iter().position(|b| *b == b'\t').unwrap_or(0);
        keys.entry(&line[..end]).or_default().push(line);
    }
    keys
}
