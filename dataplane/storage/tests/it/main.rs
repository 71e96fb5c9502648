//! Storage as its callers meet it: one conformance suite on a real and on a simulated disk, and
//! thousands of seeded runs of crashes and faults.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise"
)]

mod conformance;
mod crashes;
mod model;
mod setup;
mod shared;
