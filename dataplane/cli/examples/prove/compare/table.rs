//! The table of results, for the benchmarks page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::work::{Engine, Sample, Work};
use crate::measure::median;

/// All samples.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<(Work, Engine), Vec<Sample>>);

/// A value of a sample and its format.
#[derive(Clone, Copy)]
struct Figure {
    of: fn(&Sample) -> f64,
    show: fn(f64) -> String,
}

const RECORDS: Figure = Figure {
    of: |s| s.records_per_second,
    show: thousands,
};
const MEGABYTES: Figure = Figure {
    of: |s| s.mb_per_second,
    show: |v| format!("{v:.0} MB/s"),
};
const P50: Figure = Figure {
    of: |s| s.p50_ms,
    show: |v| format!("{v:.2}"),
};
const P99: Figure = Figure {
    of: |s| s.p99_ms,
    show: |v| format!("{v:.2}"),
};
const CPU: Figure = Figure {
    of: |s| s.cpu_seconds_per_gb,
    show: |v| format!("{v:.1} s/GB"),
};
const WRITTEN: Figure = Figure {
    of: |s| s.written_ratio,
    show: |v| format!("{v:.2}"),
};

impl Table {
    /// Adds a sample.
    pub(crate) fn add(&mut self, engine: Engine, work: Work, sample: Sample) {
        self.0.entry((work, engine)).or_default().push(sample);
    }

    /// The table as Markdown: medians with the range in brackets, and the ratio of Lograft to NATS.
    pub(crate) fn render(&self) -> String {
        let mut out = String::from("| work |");
        for engine in Engine::ALL {
            let _ = write!(out, " {} |", engine.name());
        }
        out.push_str(" x default | x always |\n|---|---|---|---|---|---|\n");
        for work in Work::ALL {
            let figures: &[(&str, Figure)] = match work {
                Work::Small | Work::SmallByHand | Work::SmallFastIngest | Work::SmallAtomic => {
                    &[("", RECORDS)]
                }
                Work::Large | Work::LargeByHand | Work::LargeFastIngest | Work::Consume => {
                    &[("", MEGABYTES)]
                }
                Work::One => &[(", p50 ms", P50), (", p99 ms", P99)],
                Work::Many | Work::ManyConnections | Work::ManyPacked => {
                    &[("", RECORDS), (", p50 ms", P50)]
                }
            };
            for (suffix, figure) in figures {
                self.line(&mut out, work, suffix, *figure);
            }
            if matches!(work, Work::Small | Work::Large) {
                self.line(&mut out, work, ", CPU of all processes", CPU);
            }
            if work == Work::Large {
                self.line(&mut out, work, ", bytes written per node and byte", WRITTEN);
            }
        }
        out
    }

    fn line(&self, out: &mut String, work: Work, suffix: &str, figure: Figure) {
        if !Engine::ALL
            .iter()
            .any(|engine| self.0.contains_key(&(work, *engine)))
        {
            return;
        }
        let _ = write!(out, "| {}{suffix} |", work.name());
        for engine in Engine::ALL {
            let _ = write!(out, " {} |", self.cell(work, engine, figure));
        }
        let own = self.figure(Engine::Lograft, work.counterpart(), figure);
        for peer in [Engine::NatsDefault, Engine::NatsAlways] {
            match (own, self.figure(peer, work, figure)) {
                (Some(own), Some(peer)) if peer > 0.0 => {
                    let _ = write!(out, " {:.2} |", own / peer);
                }
                _ => out.push_str(" - |"),
            }
        }
        out.push('\n');
    }

    fn values(&self, work: Work, engine: Engine, figure: Figure) -> Vec<f64> {
        self.0
            .get(&(work, engine))
            .map_or_else(Vec::new, |s| s.iter().map(figure.of).collect())
    }

    fn figure(&self, engine: Engine, work: Work, figure: Figure) -> Option<f64> {
        let values = self.values(work, engine, figure);
        (!values.is_empty()).then(|| median(&values))
    }

    fn cell(&self, work: Work, engine: Engine, figure: Figure) -> String {
        let values = self.values(work, engine, figure);
        if values.is_empty() {
            return "-".to_owned();
        }
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        let show = figure.show;
        format!(
            "{} ({}..{})",
            show(median(&values)),
            show(least),
            show(most)
        )
    }
}

fn thousands(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.2}M/s", value / 1e6)
    } else {
        format!("{:.1}k/s", value / 1e3)
    }
}
