//! A histogram that counts samples and discards their values.

use std::fmt;
use std::marker::PhantomData;

/// A histogram that counts samples only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    samples: u64,
    data: PhantomData<T>,
}

/// The percentiles of a histogram, all of which are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// The number of recorded values.
    pub samples: u64,
    /// The 0.1th percentile.
    pub p0_1: u64,
    /// The 1st percentile.
    pub p1: u64,
    /// The 5th percentile.
    pub p5: u64,
    /// The 10th percentile.
    pub p10: u64,
    /// The 50th percentile.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p99_9: u64,
}

/// A chart of histograms, which only has their names.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    names: Vec<String>,
}

impl<T> Histogram<T> {
    /// A histogram without samples.
    pub fn new() -> Self {
        Self {
            samples: 0,
            data: PhantomData,
        }
    }

    /// Records one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records a value `count` times.
    pub fn record_n(&mut self, _value: u64, count: u64) {
        self.samples = self.samples.saturating_add(count);
    }

    /// The number of samples. The percentiles are 0.
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
    /// A chart without histograms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the name of a histogram.
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
    fn samples_are_counted_and_values_discarded() {
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
