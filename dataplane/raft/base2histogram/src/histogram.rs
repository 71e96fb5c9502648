//! A histogram that forgets its values, and what is read out of it.

use std::fmt;
use std::marker::PhantomData;

/// Counts what is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    samples: u64,
    data: PhantomData<T>,
}

/// The percentiles of a histogram: 0 all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// 0.1 % of the values are below.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// 50 %.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

/// A drawing of histograms: none.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    names: Vec<String>,
}

impl<T> Histogram<T> {
    /// Without samples.
    pub fn new() -> Self {
        Self {
            samples: 0,
            data: PhantomData,
        }
    }

    /// One more value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// The same value so many times.
    pub fn record_n(&mut self, _value: u64, count: u64) {
        self.samples = self.samples.saturating_add(count);
    }

    /// The number of samples; no percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.samples,
            ..PercentileStats::default()
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, not recorded", self.samples)
    }
}

impl AsciiChart {
    /// Of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// And of this histogram.
    pub fn add(mut self, name: impl Into<String>, _histogram: Histogram) -> Self {
        self.names.push(name.into());
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not recorded", self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_and_values_forgotten() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(9);
        histogram.record_n(1000, 4);
        let expected = PercentileStats {
            samples: 5,
            ..PercentileStats::default()
        };
        assert_eq!(histogram.percentile_stats(), expected);
        assert!(size_of::<Histogram>() <= 8);
    }
}
