//! What openraft names of the crate `base2histogram`, without what that costs.
//!
//! openraft records statistics of each group even where its feature `runtime-stats`, the only way
//! to read them, is off, as it is here. The real crate makes lookup tables of all 16 resolutions
//! for the first histogram, 25 MiB per process that stay resident, and 2 KiB for each of a group's
//! 16 histograms. This one counts samples and keeps no value: all percentiles are 0. Remove it
//! when the real one makes only the table it uses, or before `runtime-stats` is switched on.

mod histogram;

pub use histogram::{AsciiChart, Histogram, PercentileStats};
