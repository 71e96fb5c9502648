//! Results of the log service as messages. Payloads move.

use lograft_core::metadata::{Node, Partition, Topic};
use lograft_core::record::Header;
use lograft_core::{LogIndex, NodeId, Offset, Record};
use lograft_proto::log::UNKNOWN_OFFSET;
use lograft_proto::log::v1 as proto;

use crate::access::Visibility;
use crate::api::grpc::status;
use crate::error::ApiError;
use crate::serving::metadata::ClusterView;
use crate::serving::offsets::PartitionBounds;
use crate::serving::request::{
    Appended, Consistency, DeletedRecords, Fetched, FetchedBatch, FetchedData, FetchedRecord,
    OffsetBounds, ReadOrigin,
};

/// The request that a reply of a produce belongs to.
#[derive(Debug)]
pub(crate) struct ProduceTag {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) request_id: u64,
}

impl ProduceTag {
    pub(crate) fn of(request: &proto::ProduceRequest) -> Self {
        Self {
            topic: request.topic.clone(),
            partition: request.partition,
            request_id: request.request_id,
        }
    }
}

pub(crate) fn appended(tag: ProduceTag, appended: Appended) -> proto::ProduceReply {
    let ProduceTag {
        topic,
        partition,
        request_id,
    } = tag;
    let Appended {
        base_offset,
        record_count,
        term,
        append_time_ms,
        is_duplicate,
    } = appended;
    proto::ProduceReply {
        topic,
        partition,
        base_offset: base_offset.map_or(UNKNOWN_OFFSET, Offset::get),
        record_count,
        leader_epoch: term.get(),
        durability: proto::Durability::MajorityFsync.into(),
        append_time_ms,
        duplicate: is_duplicate,
        request_id,
        error: None,
    }
}

/// The reply of a produce stream to a request that failed.
pub(crate) fn append_failed(tag: ProduceTag, error: &ApiError) -> proto::ProduceReply {
    let ProduceTag {
        topic,
        partition,
        request_id,
    } = tag;
    proto::ProduceReply {
        topic,
        partition,
        request_id,
        error: Some(status::to_wire(error)),
        ..Default::default()
    }
}

pub(crate) fn fetched(fetched: Fetched) -> proto::FetchReply {
    let Fetched {
        data,
        high_watermark,
        log_start_offset,
        start_offset,
        next_offset,
        term,
        origin,
    } = fetched;
    let ReadOrigin {
        consistency,
        node,
        commit_index,
    } = origin;
    let (batches, records) = match data {
        FetchedData::Batches(batches) => (batches.into_iter().map(batch).collect(), Vec::new()),
        FetchedData::Records(records) => (Vec::new(), records.into_iter().map(record).collect()),
    };
    proto::FetchReply {
        batches,
        records,
        high_watermark: high_watermark.get(),
        log_start_offset: log_start_offset.get(),
        next_offset: next_offset.get(),
        leader_epoch: term.get(),
        start_offset: start_offset.map(Offset::get),
        consistency: consistency_of(consistency).into(),
        read_by: node.map_or(0, NodeId::get),
        commit_index: commit_index.map_or(0, LogIndex::get),
    }
}

const fn consistency_of(given: Option<Consistency>) -> proto::ReadConsistency {
    match given {
        None => proto::ReadConsistency::Unspecified,
        Some(Consistency::Leader) => proto::ReadConsistency::Leader,
        Some(Consistency::Session) => proto::ReadConsistency::Session,
        Some(Consistency::Linearizable) => proto::ReadConsistency::Linearizable,
    }
}

fn batch(batch: FetchedBatch) -> proto::FetchedBatch {
    let FetchedBatch {
        base_offset,
        record_count,
        append_time_ms,
        data,
        crc32c,
        term,
    } = batch;
    proto::FetchedBatch {
        base_offset: base_offset.get(),
        record_count,
        append_time_ms,
        data,
        crc32c,
        leader_epoch: term.get(),
    }
}

fn record(fetched: FetchedRecord) -> proto::FetchedRecord {
    let FetchedRecord {
        offset,
        record,
        append_time_ms,
    } = fetched;
    let Record {
        timestamp_ms,
        key,
        value,
        headers,
    } = record;
    let header = |Header { key, value }| proto::Header { key, value };
    proto::FetchedRecord {
        offset: offset.get(),
        record: Some(proto::Record {
            key,
            value,
            headers: headers.into_iter().map(header).collect(),
            timestamp_ms,
        }),
        append_time_ms,
    }
}

pub(crate) fn offsets(found: PartitionBounds) -> proto::ListOffsetsReply {
    let partitions = found.into_iter().map(|(partition, bounds)| match bounds {
        Ok(OffsetBounds {
            log_start_offset,
            high_watermark,
            at_timestamp,
            term,
        }) => proto::PartitionOffsets {
            partition,
            log_start_offset: log_start_offset.get(),
            high_watermark: high_watermark.get(),
            offset_at_timestamp: at_timestamp.map(Offset::get),
            leader_epoch: term.get(),
            error: None,
        },
        Err(error) => proto::PartitionOffsets {
            partition,
            error: Some(status::to_wire(&error)),
            ..Default::default()
        },
    });
    proto::ListOffsetsReply {
        partitions: partitions.collect(),
    }
}

pub(crate) const fn deleted(deleted: DeletedRecords) -> proto::DeleteRecordsReply {
    let DeletedRecords {
        log_start_offset,
        high_watermark,
        term,
    } = deleted;
    proto::DeleteRecordsReply {
        log_start_offset: log_start_offset.get(),
        high_watermark: high_watermark.get(),
        leader_epoch: term.get(),
    }
}

pub(crate) fn metadata(
    view: &ClusterView<'_>,
    names: &[String],
    visible: &Visibility<'_>,
) -> proto::GetMetadataReply {
    let found = view.topics(names).into_iter();
    // A topic that was asked for by name is answered with an error, which does not say whether it
    // exists.
    let shown = found.filter_map(|(name, found)| {
        if visible.includes_topic(name) {
            return Some((name, found));
        }
        (!names.is_empty()).then(|| (name, Err(visible.hidden_topic(name))))
    });
    let topics = shown.map(|(name, found)| {
        found.map_or_else(
            |error| proto::Topic {
                name: name.to_owned(),
                error: Some(status::to_wire(&error)),
                ..Default::default()
            },
            |found| topic(view, found),
        )
    });
    let cluster_id = view.metadata.cluster_id();
    proto::GetMetadataReply {
        cluster_id: cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        nodes: view.metadata.members().map(node).collect(),
        topics: topics.collect(),
        metadata_version: view.metadata.version().get(),
        answered_by: view.answered_by.get(),
    }
}

fn node(node: &Node) -> proto::Node {
    proto::Node {
        node_id: node.id.get(),
        name: node.registration.name.clone(),
        client_address: node.registration.client_address.clone(),
        zone: node.registration.zone.clone(),
    }
}

fn topic(view: &ClusterView<'_>, topic: &Topic) -> proto::Topic {
    let partitions = (0..).zip(&topic.partitions);
    proto::Topic {
        name: topic.name.clone(),
        topic_id: topic.id.0,
        partitions: partitions
            .map(|(number, found)| partition(view, number, found))
            .collect(),
        error: None,
        batch_max_bytes: topic.settings.shown_batch_max_bytes(),
        record_max_bytes: topic.settings.record_max_bytes,
    }
}

fn partition(view: &ClusterView<'_>, number: u32, found: &Partition) -> proto::Partition {
    let leader = view.leader(found);
    proto::Partition {
        partition: number,
        leader_node: leader.map(|(node, _)| node.get()),
        leader_epoch: leader.map_or(0, |(_, term)| term.get()),
        replicas: found.replicas.iter().map(|node| node.get()).collect(),
        group_id: found.group.get(),
    }
}
