"""The record batch, the partition of a key, and connections, as docs/format.md describes them.

Needs only grpcio and grpcio-tools, which makes the stubs from log.proto while the program starts.
"""

import pathlib
import struct
import sys

import grpc

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "proto" / "proto"))
pb, services = grpc.protos_and_services("lograft/log/v1/log.proto")

# Codes that may be retried if nothing says more: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED,
# UNAVAILABLE.
RETRYABLE_CODES = {4, 8, 10, 14}


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    number = (number + (1 << 63) & MASK) - (1 << 63)  # The difference of two times may wrap.
    return (number << 1 ^ number >> 63) & MASK


def encode_batch(records):
    """The bytes of an uncompressed batch; each record is (timestamp, key, value, headers)."""
    base_ms, block = records[0][0], bytearray()
    for timestamp_ms, key, value, headers in records:
        block += varint(zigzag(timestamp_ms - base_ms))
        for part in (key, value):
            block += b"\0" if part is None else varint(len(part) + 1) + part
        block += varint(len(headers))
        for name, value in headers:
            for part in (name.encode(), value):
                block += varint(len(part)) + part
    latest_ms = max(record[0] for record in records)
    head = struct.pack("<BBHIqqI", 1, 0, 0, len(records), base_ms, latest_ms, len(block))
    return head + bytes(block)


MASK = (1 << 64) - 1
P1, P2, P3 = 11400714785074694791, 14029467366897019727, 1609587929392839161
P4, P5 = 9650029242287828579, 2870177450012600261


def rotated(number, bits):
    number &= MASK
    return (number << bits | number >> 64 - bits) & MASK


def xxh64(data):
    """XXH64 with seed 0."""
    at, lanes = 0, [P1 + P2, P2, 0, -P1]
    if len(data) >= 32:
        while at + 32 <= len(data):
            words = struct.unpack_from("<4Q", data, at)
            lanes = [rotated(lane + word * P2, 31) * P1 for lane, word in zip(lanes, words)]
            at += 32
        hash = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18)))
        for lane in lanes:
            hash = (hash ^ rotated(lane * P2, 31) * P1) * P1 + P4
    else:
        hash = P5
    hash += len(data)
    while at + 8 <= len(data):
        (word,) = struct.unpack_from("<Q", data, at)
        hash = rotated(hash ^ rotated(word * P2, 31) * P1 & MASK, 27) * P1 + P4
        at += 8
    if at + 4 <= len(data):
        (word,) = struct.unpack_from("<I", data, at)
        hash = rotated(hash ^ word * P1, 23) * P2 + P3
        at += 4
    for byte in data[at:]:
        hash = rotated(hash ^ byte * P5, 11) * P1
    hash &= MASK
    hash = (hash ^ hash >> 33) * P2 & MASK
    hash = (hash ^ hash >> 29) * P3 & MASK
    return hash ^ hash >> 32


class Cluster:
    """Connections to the nodes, and the metadata of one topic."""

    def __init__(self, endpoints, tls, topic):
        pem = [(pathlib.Path(tls) / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")]
        self.credentials = grpc.ssl_channel_credentials(*pem)
        self.endpoints, self.topic, self.channels, self.first = list(endpoints), topic, {}, 0

    def stub(self, address):
        """Connections are shared, and made again by gRPC after they break."""
        if address not in self.channels:
            options = {
                "grpc.keepalive_time_ms": 2000,
                "grpc.keepalive_timeout_ms": 2000,
                "grpc.keepalive_permit_without_calls": 1,
                "grpc.http2.max_pings_without_data": 0,
                "grpc.max_receive_message_length": 8 << 20,
                "grpc.max_reconnect_backoff_ms": 500,
            }
            self.channels[address] = grpc.secure_channel(address, self.credentials, options.items())
        return services.LogServiceStub(self.channels[address])

    def any_node(self, call):
        """The reply of the first node that replies; `call` gets the node's stub."""
        failure = None
        for _ in self.endpoints:
            try:
                return call(self.stub(self.endpoints[self.first % len(self.endpoints)]))
            except grpc.RpcError as error:
                failure = error
                self.first += 1
        raise failure

    def metadata(self):
        """The topic, and the addresses of all nodes by their ids."""
        request = pb.GetMetadataRequest(topics=[self.topic])
        reply = self.any_node(lambda node: node.GetMetadata(request, timeout=2))
        return reply.topics[0], {node.node_id: node.client_address for node in reply.nodes}
