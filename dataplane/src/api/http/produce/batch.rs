//! One batch as a request of `serving`.

use lograft_core::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};

use super::ProduceCall;
use crate::api::http::number::Int;
use crate::error::ApiError;
use crate::serving::append::append_timeout;
use crate::serving::request::{AppendRequest, Content, PlainRecord, Target};

impl ProduceCall {
    /// The append of records to a partition.
    pub(super) fn append_request(
        &self,
        partition: u32,
        records: Vec<PlainRecord>,
        stamp: Option<ProducerStamp>,
    ) -> AppendRequest {
        AppendRequest {
            target: Target {
                topic: self.topic.clone(),
                topic_id: Some(self.partitions.topic_id),
                partition,
                is_forwarded: false,
                principal: self.principal.clone(),
            },
            content: Content::Plain(records),
            stamp,
            timeout: append_timeout(self.query.timeout_ms.unwrap_or(0)),
        }
    }
}

/// The fields of an idempotent producer, as they are in a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StampFields {
    pub(super) producer_id: Option<Int<u64>>,
    pub(super) epoch: Option<u32>,
    pub(super) sequence: Option<Int<u64>>,
}

impl StampFields {
    /// The stamp: all of its fields are there, or none.
    pub(super) fn stamp(self) -> Result<Option<ProducerStamp>, ApiError> {
        let Self {
            producer_id,
            epoch,
            sequence,
        } = self;
        match (producer_id, epoch, sequence) {
            (None, None, None) => Ok(None),
            (Some(Int(id)), Some(epoch), Some(Int(sequence))) => Ok(Some(ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
            })),
            (None, ..) => Err(ApiError::invalid(
                "producer_id",
                "set with epoch and sequence",
            )),
            (_, None, _) => Err(ApiError::invalid("epoch", "set with producer_id")),
            (_, _, None) => Err(ApiError::invalid("sequence", "set with producer_id")),
        }
    }
}
