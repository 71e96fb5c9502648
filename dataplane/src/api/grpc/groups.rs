//! The messages of the group service.

pub(super) mod decode;
pub(super) mod encode;
