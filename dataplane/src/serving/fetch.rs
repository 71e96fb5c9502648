//! Reading from the partitions that this node leads: below the high watermark, and asleep while
//! there is nothing new.

pub(crate) mod decode;
pub(crate) mod position;
pub(crate) mod reader;
