//! Storage as its callers meet it: one conformance suite on a real and on a simulated disk, and
//! thousands of seeded runs of crashes and faults.

mod conformance;
mod crashes;
mod model;
mod setup;
