//! Errors as one line of text.

pub use lograft_proto::error_text::error_chain;
