//! Lograft's Rust client.
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
//! println!("stored at offset {}", delivery.await?.offset);
//!
//! let config = ConsumerConfig { follow: false, ..ConsumerConfig::new("clicks", StartAt::Earliest) };
//! let mut consumer = client.consumer(config).await?;
//! while let Some(consumed) = consumer.next().await? {
//!     println!("{}: {:?}", consumed.offset, consumed.record.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] knows which node leads which partition and goes straight there. A [`Producer`]
//! packs records into batches, keeps several in flight to each leader, and resends in order what
//! was not acknowledged: with the default, idempotent stamps a record is stored exactly once. A
//! [`Consumer`] reads batches from the partitions' leaders, checks their checksums and goes on at
//! its own next offset after any failure that passes.

mod admin;
mod client;
mod config;
mod consumer;
mod dial;
mod error;
mod pacing;
mod producer;
mod tls;

pub use admin::{Admin, NewTopic, TopicChange};
pub use client::{Client, Metadata, NodeInfo, PartitionInfo, PartitionOffsets, TopicInfo};
pub use config::{ClientConfig, TlsFiles, TlsPem, TlsSource};
pub use consumer::{ConsumedBatch, ConsumedRecord, Consumer, ConsumerConfig, OutOfRange, StartAt};
pub use dial::{Dial, DialError, DialErrorKind, Dialling, TcpDialer, Wire};
pub use error::{ClientError, Rejection};
pub use producer::{
    BatchDelivery, BatchMetadata, Delivery, Producer, ProducerConfig, ProducerStats,
    RecordMetadata, RecordParts, TopicProducer,
};
pub use tls::TlsError;

pub use lograft_core::compression::Compression;
pub use lograft_core::record::{Header, Record, RecordRef};
pub use lograft_core::{NodeId, Offset, PartitionId, Reason, Term};
/// The administration replies as they stand on the wire, documented in `admin.proto`.
pub use lograft_proto::admin::v1 as admin_wire;
pub use lograft_proto::log::v1::Durability;
