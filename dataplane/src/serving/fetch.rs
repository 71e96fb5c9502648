//! Reads from partitions: below the high watermark, without polling while there is nothing new.

mod consume;
mod decode;
mod entries;
pub(crate) mod position;
mod reader;
mod unary;

pub(crate) use consume::consume;
pub(crate) use unary::fetch;
