//! Loads on NATS: three nats-server processes with JetStream on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use rustix::process::Signal;

use super::options::RETAINED_BYTES;
use super::work::{Sample, Work};
use crate::cluster::ProveArgs;
use crate::measure::{Measured, to_f64};
use crate::nats::{self, Load, Target};
use crate::proc::{self, Usage};

const CLIENT_PORT: u16 = 14_220;
const ROUTE_PORT: u16 = 15_220;

/// Three running servers and their folder.
#[derive(Debug)]
pub(crate) struct NatsRun {
    servers: Vec<Child>,
    addresses: Vec<SocketAddr>,
    folder: PathBuf,
}

impl NatsRun {
    /// Starts the servers. `always` sets `sync_interval: always`.
    pub(crate) async fn start(program: &Path, always: bool, args: &ProveArgs) -> Result<Self> {
        let folder = args.empty_folder("compare-nats")?;
        let mut run = Self {
            servers: Vec::new(),
            addresses: Vec::new(),
            folder,
        };
        for number in 1..=3 {
            let path = run.folder.join(format!("n{number}.conf"));
            fs::write(&path, config(number, &run.folder, always))?;
            let server = Command::new(program)
                .arg("--config")
                .arg(&path)
                .arg("--log")
                .arg(run.folder.join(format!("n{number}.log")))
                .stdin(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            run.servers.push(server);
            run.addresses
                .push(SocketAddr::from(([127, 0, 0, 1], CLIENT_PORT + number)));
        }
        // Creating a stream waits until the cluster has formed.
        nats::create(&run.addresses, "READY", 3, RETAINED_BYTES).await?;
        Ok(run)
    }

    /// Runs one load on as many streams as Lograft has partitions. Write loads use new streams.
    pub(crate) async fn load(&self, work: Work, seconds: u64, streams: u32) -> Result<Sample> {
        let streams = if work == Work::One { 1 } else { streams };
        let names: Vec<String> = (0..streams).map(|at| format!("BENCH{at}")).collect();
        let mut targets = Vec::new();
        for name in &names {
            targets.push(match work {
                Work::Consume => Target::find(&self.addresses, name).await?,
                _ => nats::create(&self.addresses, name, 3, RETAINED_BYTES).await?,
            });
        }
        let each = match work {
            Work::Small | Work::Large => Load::PublishOfficial,
            Work::SmallByHand | Work::LargeByHand => Load::Publish,
            Work::SmallFastIngest | Work::LargeFastIngest => Load::FastIngest,
            Work::SmallAtomic => Load::AtomicBatch,
            Work::Consume => Load::Consume,
            Work::One | Work::ManyConnections => Load::Single,
            Work::Many | Work::ManyPacked => Load::SingleOfficial,
        };
        let producers = if matches!(work, Work::Many | Work::ManyConnections) {
            64_u32.div_ceil(streams)
        } else {
            1
        };
        let run = |seconds| {
            let one =
                move |target| nats::load(target, each, producers, work.record_bytes(), seconds);
            try_join_all(targets.iter().map(one))
        };
        if work != Work::Consume {
            // One second of warm-up, as in `lograft bench`.
            run(1).await?;
        }
        let mut pids = vec![std::process::id()];
        pids.extend(self.servers.iter().map(Child::id));
        let (all, servers) = (Usage::of(&pids)?, Usage::of(&pids[1..])?);
        let measured = run(seconds).await?;
        let cpu = Usage::of(&pids)?.since(all).cpu_seconds;
        let written = Usage::of(&pids[1..])?.since(servers).written_bytes;
        Ok(sum(&measured, cpu, written))
    }

    /// Stops the servers and deletes their data.
    pub(crate) fn stop(mut self) -> Result<()> {
        for server in &self.servers {
            proc::signal(server.id(), Signal::TERM)?;
        }
        for server in &mut self.servers {
            server.wait()?;
        }
        self.servers.clear();
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

impl Drop for NatsRun {
    fn drop(&mut self) {
        for server in &mut self.servers {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Combines loads that ran concurrently.
fn sum(measured: &[Measured], cpu_seconds: f64, written_bytes: u64) -> Sample {
    let mean = |of: fn(&Measured) -> f64| {
        measured.iter().map(of).sum::<f64>() / to_f64(measured.len().max(1) as u64)
    };
    let bytes = to_f64(measured.iter().map(|m| m.bytes).sum::<u64>()).max(1.0);
    Sample {
        records_per_second: measured.iter().map(Measured::records_per_second).sum(),
        mb_per_second: measured.iter().map(Measured::mb_per_second).sum(),
        p50_ms: mean(|m| m.p50_ms),
        p99_ms: mean(|m| m.p99_ms),
        cpu_seconds_per_gb: cpu_seconds / (bytes / 1e9),
        written_ratio: to_f64(written_bytes) / 3.0 / bytes,
    }
}

fn config(number: u16, folder: &Path, always: bool) -> String {
    let sync = if always { "sync_interval: always" } else { "" };
    let routes: Vec<String> = (1..=3)
        .map(|other| format!("nats://127.0.0.1:{}", ROUTE_PORT + other))
        .collect();
    format!(
        "server_name: n{number}\n\
         listen: 127.0.0.1:{}\n\
         max_payload: 1MB\n\
         jetstream {{ store_dir: \"{}/d{number}\", max_file_store: 40GB\n{sync}\n}}\n\
         cluster {{ name: compare, listen: 127.0.0.1:{}, routes: [{}] }}\n",
        CLIENT_PORT + number,
        folder.display(),
        ROUTE_PORT + number,
        routes.join(", "),
    )
}
