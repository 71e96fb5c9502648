//! The table of the phases.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;

use super::balance::Even;
use super::load::{Pause, Taken};
use crate::measure::to_f64;

/// Pauses that are listed for each phase.
const PAUSES_SHOWN: usize = 3;
/// Shorter pauses are not listed.
const PAUSE_SHOWN_MIN: Duration = Duration::from_secs(1);

/// The figures of a phase.
pub(super) struct PhaseFigures {
    pub(super) name: &'static str,
    pub(super) took: Duration,
    pub(super) load: Taken,
    pub(super) moves: u64,
    pub(super) even: Even,
}

/// Prints the head of the table.
pub(super) fn print_head() {
    println!(
        "| phase | s | records/s | p50 ms | p99 ms | max ms | pauses, median and longest | moves | \
         replicas of the nodes | leaders |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

impl PhaseFigures {
    /// Prints the row of the phase, and its longest pauses.
    pub(super) fn print(&self) {
        let Taken {
            records,
            took,
            latencies,
            pauses,
        } = &self.load;
        let ms = |quantile| to_f64(latencies.value_at_quantile(quantile)) / 1000.0;
        let pause = |at: usize| pauses.get(at).map_or(Duration::ZERO, |pause| pause.lasted);
        println!(
            "| {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {}, {:.2} s, {:.2} s | {} | {} | {} |",
            self.name,
            self.took.as_secs_f64(),
            to_f64(*records) / took.as_secs_f64(),
            ms(0.5),
            ms(0.99),
            to_f64(latencies.max()) / 1000.0,
            pauses.len(),
            pause(pauses.len() / 2).as_secs_f64(),
            pause(0).as_secs_f64(),
            self.moves,
            numbers(&self.even.replicas),
            numbers(&self.even.leaders),
        );
        let long = pauses
            .iter()
            .filter(|pause| pause.lasted >= PAUSE_SHOWN_MIN);
        for pause in long.take(PAUSES_SHOWN) {
            let Pause {
                topic,
                partition,
                lasted,
                ended,
            } = pause;
            let ended = ended.format(&Rfc3339).unwrap_or_default();
            eprintln!("  {topic}/{partition} paused for {lasted:.2?} until {ended}");
        }
    }
}

fn numbers(numbers: &[u32]) -> String {
    let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
    texts.join(" ")
}
