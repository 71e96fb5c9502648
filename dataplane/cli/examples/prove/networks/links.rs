//! Links that are slow, lose frames, or go up and down.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::lab::{Lab, TOPICS};
use super::net::{Fault, Net};

/// Part of the frames that are lost.
pub(super) const LOSS_PERCENT: u32 = 5;
const DELAY: Duration = Duration::from_millis(200);
/// Bound of the new terms of all groups together per minute of delay. An election when the delay
/// starts is allowed to each group; a storm has one every second.
const TERMS_MAX_PER_MINUTE: u64 = 12;
/// Shortest and longest time for which a flapping link stays as it is.
const FLAP_MS: std::ops::Range<u64> = 500..3000;

/// Delays every frame.
pub(super) async fn delay(lab: &mut Lab, time: Duration) -> Result<()> {
    lab.net.delay(DELAY)?;
    sleep(time).await;
    lab.goes_on().await?;
    lab.net.end_delay()
}

/// Whether there were as few elections as a delay explains.
pub(super) fn check_terms(new_terms: u64, time: Duration) -> Result<()> {
    let most = TERMS_MAX_PER_MINUTE * time.as_secs().div_ceil(60);
    ensure!(
        new_terms <= most,
        "{new_terms} new terms: elections do not end"
    );
    Ok(())
}

/// Loses a part of all frames.
pub(super) async fn loss(lab: &mut Lab, time: Duration) -> Result<()> {
    lab.hold(&[Fault::LossPercent(LOSS_PERCENT)], time).await
}

/// Random numbers that a seed repeats (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn duration_ms(&mut self, range: &std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }
}

/// Takes the link of a leader down and up again, all the time. Down times are half as long.
pub(super) async fn flap(lab: &mut Lab, time: Duration, seed: u64) -> Result<()> {
    let host = lab.nodes.leader(TOPICS[0]).await?;
    let mut random = Random(seed);
    let end = Instant::now() + time;
    let mut count = 0_u32;
    while Instant::now() < end {
        Net::set_link(host, false)?;
        sleep(random.duration_ms(&FLAP_MS).div_f64(1.5)).await;
        Net::set_link(host, true)?;
        sleep(random.duration_ms(&FLAP_MS)).await;
        lab.nodes.check_running()?;
        count += 1;
    }
    lab.goes_on().await?;
    lab.notes.push(format!(
        "seed {seed}: link of host {host} down {count} times"
    ));
    Ok(())
}
