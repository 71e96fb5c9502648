//! The messages of the log service, and its produce stream.

pub(super) mod decode;
pub(super) mod encode;
pub(super) mod produce_stream;

#[cfg(test)]
mod delete_tests;
#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod produce_tests;
#[cfg(test)]
mod reply_tests;
#[cfg(test)]
mod small_request_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod version_tests;
#[cfg(test)]
mod watermark_tests;
