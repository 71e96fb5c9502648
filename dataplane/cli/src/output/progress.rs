//! One line on standard error that tells how far a transfer is; only where a person looks on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::units;

/// Between two drawings.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Cells of the bar.
const BAR_CELLS: u64 = 24;

/// A line that is drawn over and over on a terminal, and not at all when piped.
#[derive(Debug)]
pub(crate) struct Status {
    shown: bool,
    drawn: bool,
}

impl Status {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        let shown = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            shown,
            drawn: false,
        }
    }

    /// Puts this text in place of the one before it.
    pub(crate) fn show(&mut self, text: &str) {
        if self.shown {
            self.drawn = true;
            // A terminal that went away is no reason to fail the work.
            drop(write!(std::io::stderr(), "\r\x1b[K{text}"));
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How far a transfer is; drawn at most ten times a second.
#[derive(Debug)]
pub(crate) struct Progress {
    status: Status,
    begun: Instant,
    last: Instant,
    total_bytes: Option<u64>,
}

impl Progress {
    /// A line for a transfer of `total_bytes`, where that is known.
    pub(crate) fn new(total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            status: Status::new(),
            begun: now,
            last: now,
            total_bytes,
        }
    }

    /// Draws, when it is time to.
    pub(crate) fn tick(&mut self, records: u64, bytes: u64) {
        if self.status.shown && self.last.elapsed() >= DRAW_EVERY {
            self.last = Instant::now();
            self.status.show(&line(
                self.total_bytes,
                records,
                bytes,
                self.begun.elapsed(),
            ));
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        self.status.clear();
    }
}

fn line(total_bytes: Option<u64>, records: u64, bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-9);
    let speed = format!(
        "{} records  {}  {}/s  {:.1} MB/s",
        units::count(records),
        units::size(bytes),
        units::rate(units::float(records) / seconds),
        units::float(bytes) / seconds / 1e6,
    );
    let Some(total) = total_bytes.filter(|total| *total > 0) else {
        return speed;
    };
    let done = bytes.min(total);
    let full = done * BAR_CELLS / total;
    let bar: String = (0..BAR_CELLS)
        .map(|cell| if cell < full { '━' } else { '─' })
        .collect();
    format!("{bar} {:>3}%  {speed}", done * 100 / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_with_the_bytes() {
        let text = line(Some(200), 5, 100, Duration::from_secs(1));
        assert!(text.starts_with("━━━━━━━━━━━━──────────── "), "{text}");
        assert!(text.contains(" 50%  5 records"), "{text}");
        assert!(!line(None, 5, 100, Duration::from_secs(1)).contains('%'));
    }
}
