//! A record to print.

use lograft_client::RecordRef;

/// A record with its partition and offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConsumedRecord<'a> {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) leader_epoch: u64,
    pub(crate) append_time_ms: i64,
    pub(crate) record: &'a RecordRef<'a>,
}
