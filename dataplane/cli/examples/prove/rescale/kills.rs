//! Kills nodes at random times, one after the other: never more than one is down.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::time::sleep;

use super::crew::Processes;
use crate::proc;

/// Bounds of the time before a pair of kills.
const BEFORE_MS: [u64; 2] = [1000, 6000];
/// Bounds of the time between the two kills of a pair, once the first node serves again.
const BETWEEN_MS: [u64; 2] = [0, 2000];
const RESTART_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Pseudo-random numbers that are the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// Other numbers.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next() >> 32) % end).unwrap_or(0)
    }

    fn time(&mut self, [min_ms, max_ms]: [u64; 2]) -> Duration {
        Duration::from_millis(min_ms + (self.next() >> 32) % (max_ms - min_ms))
    }
}

/// Kills nodes.
pub(super) struct Killer {
    processes: Processes,
    random: Random,
}

impl Killer {
    pub(super) const fn new(processes: Processes, random: Random) -> Self {
        Self { processes, random }
    }

    /// Kills that many pairs of nodes.
    pub(super) async fn run(mut self, pairs: u32) -> Result<()> {
        for _ in 0..pairs {
            sleep(self.random.time(BEFORE_MS)).await;
            let first = self.kill(None).await?;
            sleep(self.random.time(BETWEEN_MS)).await;
            self.kill(Some(first)).await?;
        }
        Ok(())
    }

    /// Kills one of the nodes that run, waits until it serves again, and returns its place.
    async fn kill(&mut self, except: Option<usize>) -> Result<usize> {
        let mut running = self.processes.running().await;
        running.retain(|(at, _)| Some(*at) != except);
        ensure!(!running.is_empty(), "no node runs");
        let (at, pid) = running[self.random.below(running.len())];
        proc::signal(pid, Signal::KILL)?;
        eprintln!("  killed node-{}", at + 1);
        let started = Instant::now();
        // One that has left the cluster meanwhile is not started again.
        while self.processes.is_wanted(at).await && !self.processes.serves(at).await {
            ensure!(
                started.elapsed() < RESTART_TIMEOUT,
                "node-{} does not serve after its restart",
                at + 1
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(at)
    }
}
