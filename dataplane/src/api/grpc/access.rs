//! The messages of the access service.

pub(super) mod decode;
pub(super) mod encode;
