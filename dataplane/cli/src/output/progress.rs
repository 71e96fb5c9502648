//! A progress line on standard error, shown only on a terminal, and the summary of a transfer.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::units;

/// Minimum time between two updates of the line.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Width of the progress bar in characters.
const BAR_CELLS: u64 = 24;

/// A line on a terminal that is overwritten by each update. Not shown in a pipe.
#[derive(Debug)]
pub(crate) struct StatusLine {
    shown: bool,
    drawn: bool,
}

impl StatusLine {
    /// A line without text.
    pub(crate) fn new() -> Self {
        let shown = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            shown,
            drawn: false,
        }
    }

    /// Replaces the text of the line.
    pub(crate) fn show(&mut self, text: &str) {
        if self.shown {
            self.drawn = true;
            // A failure to show the status must not fail the command.
            drop(write!(std::io::stderr(), "\r\x1b[K{text}"));
        }
    }

    /// Erases the line.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Progress of a transfer.
#[derive(Debug)]
pub(crate) struct Progress {
    status: StatusLine,
    started: Instant,
    last_update: Instant,
    total_bytes: Option<u64>,
}

impl Progress {
    /// Progress of a transfer of `total_bytes`, if its size is known.
    pub(crate) fn new(total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            status: StatusLine::new(),
            started: now,
            last_update: now,
            total_bytes,
        }
    }

    /// Updates the line, unless the previous update was too recent.
    pub(crate) fn update(&mut self, records: u64, bytes: u64) {
        let total_bytes = self.total_bytes;
        self.update_with(|time| line(total_bytes, records, bytes, time));
    }

    /// Updates the line with the text for the time since the start, unless the previous update was
    /// too recent.
    pub(crate) fn update_with(&mut self, text: impl FnOnce(Duration) -> String) {
        if self.status.shown && self.last_update.elapsed() >= DRAW_EVERY {
            self.last_update = Instant::now();
            self.status.show(&text(self.started.elapsed()));
        }
    }

    /// Erases the line.
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

/// `1,000 records, 1.5 MiB in 1.2 s: 833 records/s, 1.3 MB/s`.
pub(crate) fn throughput_summary(records: u64, bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-9);
    format!(
        "{} records, {} in {}: {} records/s, {:.1} MB/s",
        units::count(records),
        units::size(bytes),
        units::elapsed(time),
        units::rate(units::float(records) / seconds),
        units::float(bytes) / seconds / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_count_size_time_and_rates() {
        let text = throughput_summary(1_000_000, 256_000_000, Duration::from_millis(1600));
        assert_eq!(
            text,
            "1,000,000 records, 244.1 MiB in 1.6 s: 625k records/s, 160.0 MB/s"
        );
    }

    #[test]
    fn the_bar_fills_with_the_bytes() {
        let text = line(Some(200), 5, 100, Duration::from_secs(1));
        assert!(text.starts_with("━━━━━━━━━━━━──────────── "), "{text}");
        assert!(text.contains(" 50%  5 records"), "{text}");
        assert!(!line(None, 5, 100, Duration::from_secs(1)).contains('%'));
    }
}
