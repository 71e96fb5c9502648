//! Reads from partitions: below the high watermark, without polling while there is nothing new.

mod consume;
mod decode;
mod entries;
mod follower;
pub(crate) mod position;
mod read_counter;
mod reader;
mod unary;

pub(crate) use consume::consume;
pub(crate) use unary::fetch;
