"""A member of a group that prints its records: group.py GROUP TOPIC HOST:PORT,... TLS_FOLDER"""
import pathlib, signal, sys, time, uuid, grpc
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "proto" / "proto"))
pb, services = grpc.protos_and_services("lograft/log/v1/groups.proto")
logs, log_services = grpc.protos_and_services("lograft/log/v1/log.proto")
group, topic, nodes, tls = sys.argv[1:]
pem = [pathlib.Path(tls, name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")]
options = [("grpc.ssl_target_name_override", nodes.split(":")[0])]
channel = grpc.secure_channel("ipv4:" + nodes, grpc.ssl_channel_credentials(*pem), options)
groups, log = services.GroupServiceStub(channel), log_services.LogServiceStub(channel)
me, reply, held, stops = {"group": group, "member_id": str(uuid.uuid4())}, None, {}, []
signal.signal(signal.SIGTERM, lambda *_: stops.append(True))
def read(part, offset):  # Prints records from an offset on; returns the next one.
    at = logs.Position(earliest=True) if offset is None else logs.Position(offset=offset)
    asked = {"topic": topic, "topic_id": part.topic_id, "partition": part.partition, "position": at}
    try:
        fetched = log.Fetch(logs.FetchRequest(**asked), timeout=5)
    except grpc.RpcError as error:  # An offset that is gone: from the start. Else again later.
        return None if error.code() == grpc.StatusCode.OUT_OF_RANGE else offset
    for item in fetched.records:
        print(part.partition, item.offset, item.record.value.decode(), flush=True)
    return fetched.next_offset
while not stops:
    try:
        reply = reply or groups.JoinGroup(pb.JoinGroupRequest(topics=[topic], **me), timeout=5)
        has = {(p.partition, p.topic_id, p.since_generation): p for p in reply.partitions}
        held = {key: read(part, held.get(key, part.committed_offset)) for key, part in has.items()}
        new = [pb.PartitionOffset(topic=topic, partition=key[0], topic_id=key[1], offset=offset)
               for key, offset in held.items() if offset not in (None, has[key].committed_offset)]
        at, wait_ms = {"generation": reply.generation, **me}, 0 if new else 500
        if new:  # Before the next heartbeat, which says that all other partitions are given up.
            groups.CommitOffsets(pb.CommitOffsetsRequest(offsets=new, **at), timeout=5)
        reply = groups.Heartbeat(pb.HeartbeatRequest(max_wait_ms=wait_ms, **at), timeout=5)
    except grpc.RpcError as error:
        if error.code().value[0] not in (4, 5, 8, 10, 14):  # It would fail again.
            raise
        reply = None if error.code().value[0] == 5 else reply  # UNKNOWN_MEMBER: join again.
        time.sleep(0.1)
groups.LeaveGroup(pb.LeaveGroupRequest(**me), timeout=5)
