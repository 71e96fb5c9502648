//! The encoding of every message against the checked-in bytes of every feature level.
//!
//! A sample has every field set, to a value that follows from the field's name: a field that takes
//! another number, type or meaning no longer reads as its sample. A message that gained fields has
//! a fixture at each level that added some; older fixtures must read as the same sample without
//! those fields.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value,
};

use crate::fixtures::Fixtures;
use crate::{admin, log, raft};

fn fixtures() -> Fixtures {
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), "message")
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).unwrap()
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages()
        .filter(|message| !message.is_map_entry())
}

/// The samples of a message by name: one with every field, and one for each alternative of a oneof.
fn samples(message: &MessageDescriptor) -> Vec<(String, DynamicMessage)> {
    let name = message.full_name();
    let mut samples = vec![(name.to_owned(), filled(message))];
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        for field in oneof.fields().skip(1) {
            let mut sample = DynamicMessage::new(message.clone());
            sample.set_field(&field, value(&field));
            samples.push((format!("{name}-{}", field.name()), sample));
        }
    }
    samples
}

/// The message with every field set, and the first alternative of each oneof.
fn filled(message: &MessageDescriptor) -> DynamicMessage {
    let mut sample = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let is_first = |field: &FieldDescriptor| {
            let first = field
                .containing_oneof()
                .and_then(|oneof| oneof.fields().next());
            first.is_none_or(|first| first == *field)
        };
        if is_first(&field) {
            sample.set_field(&field, value(&field));
        }
    }
    sample
}

fn value(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        let key = MapKey::String("key".to_owned());
        return Value::Map(HashMap::from([(key, Value::String("value".to_owned()))]));
    }
    let scalar = scalar(field);
    if field.is_list() {
        Value::List(vec![scalar.clone(), scalar])
    } else {
        scalar
    }
}

/// The value of a field, from its name.
fn scalar(field: &FieldDescriptor) -> Value {
    let name = field.name();
    let number = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let wide = u64::from(number) << 20;
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(wide.cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(wide),
        Kind::String => Value::String(name.to_owned()),
        Kind::Bytes => Value::Bytes(name.to_owned().into_bytes().into()),
        Kind::Enum(kind) => {
            // Not the last one: a new value must not change the sample.
            let second = kind.values().nth(1).unwrap();
            Value::EnumNumber(second.number())
        }
        Kind::Message(message) => Value::Message(filled(&message)),
        Kind::Float | Kind::Double => panic!("{name} is a floating-point number"),
    }
}

/// All samples, encoded: valid input for tests of the decoders.
pub(crate) fn encoded_samples() -> Vec<Vec<u8>> {
    let pool = pool();
    let samples = messages(&pool).flat_map(|message| samples(&message));
    samples.map(|(_, sample)| sample.encode_to_vec()).collect()
}

#[test]
fn messages_keep_their_encoding() {
    let pool = pool();
    let samples: BTreeMap<String, DynamicMessage> =
        messages(&pool).flat_map(|m| samples(&m)).collect();
    assert!(samples.len() > 80, "{}", samples.len());
    let encoded = samples.iter();
    let encoded = encoded.map(|(name, sample)| (&**name, sample.encode_to_vec()));
    let findings = fixtures().differences(encoded);
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    for fixture in fixtures().all() {
        let sample = &samples[&fixture.name];
        let read = DynamicMessage::decode(sample.descriptor(), &*fixture.bytes).unwrap();
        let what = format!("{} of level {}", fixture.name, fixture.level);
        assert_reads_as(&read, sample, &what);
    }
}

/// Checks that every field that was read has the value of the sample.
fn assert_reads_as(read: &DynamicMessage, sample: &DynamicMessage, what: &str) {
    assert_eq!(
        read.unknown_fields().count(),
        0,
        "{what} has unknown fields"
    );
    for (field, value) in read.fields() {
        let expected = sample.get_field(&field);
        let what = format!("{what}, {}", field.name());
        match (value, &*expected) {
            (Value::Message(value), Value::Message(expected)) => {
                assert_reads_as(value, expected, &what);
            }
            (Value::List(values), Value::List(expected)) => {
                assert_eq!(values.len(), expected.len(), "{what}");
                for (value, expected) in values.iter().zip(expected) {
                    match (value, expected) {
                        (Value::Message(value), Value::Message(expected)) => {
                            assert_reads_as(value, expected, &what);
                        }
                        _ => assert_eq!(value, expected, "{what}"),
                    }
                }
            }
            (value, expected) => assert_eq!(value, expected, "{what}"),
        }
    }
}

/// The numbers of all enum values, as text.
#[test]
fn enums_keep_their_numbers() {
    let pool = pool();
    let listed = pool.all_enums().map(|kind| {
        let values = kind.values();
        let lines = values.map(|value| format!("{} = {}\n", value.name(), value.number()));
        (kind.full_name().to_owned(), lines.collect::<String>())
    });
    let samples: BTreeMap<String, String> = listed.collect();
    let fixtures = Fixtures::new(env!("CARGO_MANIFEST_DIR"), "enum");
    let encoded = samples.iter();
    let encoded = encoded.map(|(name, text)| (&**name, text.clone().into_bytes()));
    let findings = fixtures.differences(encoded);
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    for fixture in fixtures.all() {
        let now: Vec<&str> = samples[&fixture.name].lines().collect();
        for line in std::str::from_utf8(&fixture.bytes).unwrap().lines() {
            let (level, name) = (fixture.level, &fixture.name);
            assert!(now.contains(&line), "{line} of {name} at level {level}");
        }
    }
}

macro_rules! check_generated {
    ($checked:ident, $package:path: $($message:ident),* $(,)?) => {
        $({
            use $package as package;
            let name = concat!(stringify!($package), "::", stringify!($message));
            let name = format!("lograft.{}", name.replace("::", "."));
            check_type::<package::$message>(&name);
            $checked.push(name);
        })*
    };
}

/// The generated type reads the newest fixture completely: it writes the same bytes again.
fn check_type<M: Message + Default>(name: &str) {
    let all = fixtures().all();
    let newest = all.iter().rfind(|fixture| fixture.name == name).unwrap();
    let message = M::decode(&*newest.bytes).unwrap();
    assert_eq!(message.encode_to_vec(), newest.bytes, "{name}");
}

#[test]
fn the_generated_types_read_every_request_and_reply() {
    let mut checked = Vec::new();
    check_generated!(checked, log::v1:
        ProduceRequest, ProduceReply, FetchRequest, FetchReply, ConsumeRequest,
        ListOffsetsRequest, ListOffsetsReply, GetMetadataRequest, GetMetadataReply,
        InitProducerRequest, InitProducerReply, DeleteRecordsRequest, DeleteRecordsReply,
        JoinGroupRequest, HeartbeatRequest, MemberReply, LeaveGroupRequest, LeaveGroupReply,
        CommitOffsetsRequest, CommitOffsetsReply, FetchOffsetsRequest, FetchOffsetsReply,
        DeleteOffsetsRequest, DeleteOffsetsReply, ListGroupsRequest, ListGroupsReply,
        DescribeGroupRequest, DescribeGroupReply, DeleteGroupRequest, DeleteGroupReply,
    );
    check_generated!(checked, admin::v1:
        BootstrapRequest, BootstrapReply, JoinRequest, JoinReply, CreateTopicRequest,
        CreateTopicReply, AlterTopicRequest, AlterTopicReply, DeleteTopicRequest,
        DeleteTopicReply, ListTopicsRequest, ListTopicsReply, DescribeTopicRequest,
        DescribeTopicReply, DescribeClusterRequest, DescribeClusterReply,
        TransferLeadershipRequest, TransferLeadershipReply, DecommissionNodeRequest,
        DecommissionNodeReply, RecommissionNodeRequest, RecommissionNodeReply,
        PrepareStopRequest, PrepareStopReply, FinalizeLevelRequest, FinalizeLevelReply,
        RebalanceRequest, RebalanceReply,
        AcceptOlderDiskRequest, AcceptOlderDiskReply, RecoverGroupsRequest, RecoverGroupsReply,
        RecoverMetadataRequest, RecoverMetadataReply, ListRulesRequest, ListRulesReply,
        ChangeRulesRequest, ChangeRulesReply, ExplainAccessRequest, ExplainAccessReply,
        ListRevocationsRequest, ListRevocationsReply, ChangeRevocationsRequest,
        ChangeRevocationsReply,
    );
    check_generated!(checked, raft::v1:
        AppendRequest, AppendReply, HeartbeatsRequest, HeartbeatsReply, VoteRequest, VoteReply,
        SnapshotChunk, SnapshotReply, TransferLeaderRequest, TransferLeaderReply,
        ProposeMetaRequest, ProposeMetaReply, DescribeNodeRequest, NodeReport,
        WatchLeadersRequest, LeaderHints, MoveLeaderRequest, MoveLeaderReply,
        EvictMetaReplicaRequest, EvictMetaReplicaReply, CatchUpTargetRequest, CatchUpTargetReply,
        AcceptOlderDiskRequest, AcceptOlderDiskReply, RecoverMetadataRequest, RecoverMetadataReply,
    );
    for method in pool()
        .services()
        .flat_map(|s| s.methods().collect::<Vec<_>>())
    {
        for message in [method.input(), method.output()] {
            let name = message.full_name();
            assert!(
                checked.iter().any(|checked| checked == name),
                "add {name} to this test"
            );
        }
    }
}
