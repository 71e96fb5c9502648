//! A replacement of the crate `base2histogram`, with the part of its API that openraft uses.
//!
//! openraft records statistics of each group even if its feature `runtime-stats`, the only way to
//! read them, is off, as it is here. The original crate builds lookup tables of all 16 resolutions
//! with the first histogram, 25 MiB of resident memory per process, and takes 2 KiB for each of the
//! 16 histograms of a group. This crate counts samples and discards the values, so all percentiles
//! are 0. Remove it when the original builds only the tables it uses, or before `runtime-stats` is
//! enabled.

mod histogram;

pub use histogram::{AsciiChart, Histogram, PercentileStats};
