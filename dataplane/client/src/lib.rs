//! The Rust client of Lograft.
//!
//! ```no_run
//! use lograft_client::{
//!     Client, ClientConfig, ConsumerConfig, ProducerConfig, Record, StartAt, TlsFiles,
//! };
//!
//! # async fn tour() -> Result<(), lograft_client::ClientError> {
//! let tls = TlsFiles::new("ca.crt", "client.crt", "client.key");
//! let client = Client::connect(ClientConfig::new(["127.0.0.1:9400"], tls)).await?;
//!
//! let producer = client.producer(ProducerConfig::default()).await?;
//! let record = Record { key: Some("user-7".into()), ..Record::default() };
//! let delivery = producer.send("clicks", record, None).await?;
//! println!("stored at {:?}", delivery.await?.offset);
//!
//! let mut config = ConsumerConfig::new("clicks", StartAt::Earliest);
//! config.follow = false;
//! let mut consumer = client.consumer(config).await?;
//! while let Some(consumed) = consumer.next().await? {
//!     println!("{}: {:?}", consumed.offset, consumed.record.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] knows the leader of each partition and sends requests directly to it. A
//! [`Producer`] packs records into batches, keeps several batches in flight to each leader, and
//! resends unacknowledged batches in order: with an idempotent producer, the default, each record
//! is stored exactly once. A [`Consumer`] reads batches from the leaders of partitions, verifies
//! their checksums and resumes at its next offset after a retryable failure. A [`GroupConsumer`]
//! shares the partitions of topics with the other members of its group.

mod access;
mod admin;
mod backoff;
mod client;
mod cluster;
mod config;
mod connection;
mod consumer;
mod error;
mod group;
mod producer;

pub use access::{AccessAdmin, AccessQuestion};
pub use admin::{Admin, DeleteBefore, NewTopic, TopicChange, topic_setting};
pub use client::{Client, PartitionOffsets};
pub use cluster::metadata::{Metadata, NodeInfo, PartitionInfo, TopicInfo};
pub use config::ClientConfig;
pub use connection::dial::{Dial, Dialling, TcpDialer, Wire};
pub use connection::dial_error::{DialError, DialErrorKind};
pub use connection::tls::TlsError;
pub use connection::tls_source::{TlsFiles, TlsPem, TlsSource};
pub use consumer::{
    ConsumedBatch, ConsumedRecord, Consumer, ConsumerConfig, OutOfRange, ReadReplica, StartAt,
};
pub use error::{ClientError, Rejection};
pub use group::{
    Assignor, GroupAdmin, GroupBatch, GroupConfig, GroupConsumer, GroupEvent, GroupHandle,
    GroupPartition, GroupRecord, GroupStart, GroupStatus, PartitionStatus,
};
pub use producer::{
    BatchDelivery, BatchMetadata, Delivery, Producer, ProducerConfig, ProducerStats,
    RecordMetadata, RecordParts, TopicProducer,
};

pub use lograft_core::acl;
pub use lograft_core::compression::Compression;
pub use lograft_core::reason::NewerReason;
pub use lograft_core::record::{Header, Record, RecordRef};
pub use lograft_core::topic_config::{SettingError, SettingUnit, TopicKeyInfo};
pub use lograft_core::{
    FeatureLevel, NodeId, Offset, PartitionId, Reason, ReceivedReason, Term, TopicKey,
};
/// Replies of administrative calls in their wire format, documented in `admin.proto`.
pub use lograft_proto::admin::v1 as admin_wire;
pub use lograft_proto::log::v1::Durability;
/// Messages about groups in their wire format, documented in `groups.proto`.
pub mod group_wire {
    pub use lograft_proto::log::v1::{
        Assignor, DescribeGroupReply, GroupMember, GroupState, ListedGroup, MemberPartition,
        PartitionOffset,
    };
}
