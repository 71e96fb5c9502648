"""Writes lines, "key TAB value" or a value alone, to a topic: each once and in order, whatever
happens to nodes and connections. An example of docs/format.md, "Producing".

    produce.py TOPIC --at HOST:PORT,... --tls DIR < lines
"""

import argparse
import collections
import queue
import sys
import threading
import time

import grpc
from wire import RETRYABLE_CODES, Cluster, crc32c, encode_batch, pb, xxh64

BATCH_RECORDS, IN_FLIGHT, GIVE_UP_S = 100, 16, 120
STORED, AGAIN, REFUSED = "stored", "again", "refused"


class Batch:
    """The bytes and the stamp of a batch never change after its first send."""

    def __init__(self, records, stamp):
        data = encode_batch(records)
        self.encoded = pb.EncodedBatch(data=data, crc32c=crc32c(data), record_count=len(records))
        self.stamp, self.started = stamp, time.monotonic()


def verdict(reply):
    """What to do after a reply: the table of docs/format.md."""
    error = reply.error
    if not reply.HasField("error") or error.reason == "DUPLICATE_SEQUENCE":  # Before 0.3.0.
        return STORED
    if error.reason in ("UNKNOWN_TOPIC", "UNKNOWN_PARTITION"):
        return AGAIN  # Fresh metadata decides.
    known = error.HasField("retryable")
    return AGAIN if (error.retryable if known else error.code in RETRYABLE_CODES) else REFUSED


class PartitionSender(threading.Thread):
    """Sends the batches of one partition, one stream at a time."""

    def __init__(self, cluster, partition, producer):
        super().__init__(daemon=True)
        self.cluster, self.partition, self.producer_id = cluster, partition, producer.producer_id
        self.epoch, self.sequence = producer.producer_epoch, 0
        self.input = queue.Queue(maxsize=IN_FLIGHT)
        self.unacked, self.failures = collections.deque(), 0
        self.stored = self.duplicates = self.streams = self.in_doubt = 0
        self.start()

    def run(self):
        is_open = True
        while is_open or self.unacked:
            try:
                is_open = self.stream()
            except grpc.RpcError as error:
                self.failed(error.code().name)
            if self.unacked and time.monotonic() - self.unacked[0].started > GIVE_UP_S:
                self.give_up("not acknowledged in time")

    def stream(self):
        """Sends all unacknowledged batches, then new ones, until a failure. False at the end."""
        topic, nodes = self.cluster.metadata()
        if topic.HasField("error") or self.partition >= len(topic.partitions):
            self.give_up(topic.error.text or "the partition does not exist")
            return True
        leader = topic.partitions[self.partition].leader_node
        if leader not in nodes:
            self.failed("no leader")
            return True
        requests = queue.SimpleQueue()
        node = self.cluster.stub(nodes[leader])
        call = node.ProduceStream(
            iter(requests.get, None), metadata=[("lograft-no-forward", "1")]
        )
        self.streams += 1
        try:
            for batch in self.unacked:
                requests.put(self.request(batch, topic.topic_id))
            while self.fill(requests, topic.topic_id):
                reply = next(call, None)
                if reply is None:
                    self.failed("the stream ended")
                    return True
                if not self.on_reply(reply):
                    return True
            return False
        finally:
            requests.put(None)
            call.cancel()

    def fill(self, requests, topic_id):
        """Sends new batches, up to the limit. False if there are none and none is unacknowledged."""
        while len(self.unacked) < IN_FLIGHT:
            try:
                records = self.input.get(block=not self.unacked)
            except queue.Empty:
                return True
            if records is None:
                self.input.put(None)
                return bool(self.unacked)
            stamp = pb.ProducerStamp(
                producer_id=self.producer_id, producer_epoch=self.epoch, base_sequence=self.sequence
            )
            self.sequence += len(records)
            self.unacked.append(Batch(records, stamp))
            requests.put(self.request(self.unacked[-1], topic_id))
        return True

    def request(self, batch, topic_id):
        return pb.ProduceRequest(
            topic=self.cluster.topic, topic_id=topic_id, partition=self.partition,
            batch=batch.encoded, producer=batch.stamp,
            request_id=batch.stamp.base_sequence,
        )

    def on_reply(self, reply):
        """Replies arrive in the order of the requests. False if the stream must end."""
        outcome = verdict(reply)
        if outcome == STORED:
            self.stored += self.unacked.popleft().encoded.record_count
            self.duplicates += reply.duplicate
            self.failures = 0
            return True
        if outcome == REFUSED:
            self.give_up(f"{reply.error.text} ({reply.error.reason})")
        else:
            self.failed(reply.error.reason, reply.error.retry_delay_ms / 1000)
        return False

    def failed(self, reason, delay_s=0):
        print(f"partition {self.partition}: {reason}, sending again", file=sys.stderr)
        time.sleep(max(delay_s, min(0.25, 0.02 * 2 ** min(self.failures, 10))))
        self.failures += 1

    def give_up(self, reason):
        """The records may be in the log or not. What follows is sent under the next epoch."""
        count = sum(batch.encoded.record_count for batch in self.unacked)
        print(f"partition {self.partition}: {count} records in doubt: {reason}", file=sys.stderr)
        self.in_doubt += count
        self.unacked.clear()
        self.epoch, self.sequence = self.epoch + 1, 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("topic")
    arguments.add_argument("--at", required=True, help="host:port of nodes, with commas between")
    arguments.add_argument("--tls", required=True, help="folder with ca.crt, tls.crt, tls.key")
    options = arguments.parse_args()
    cluster = Cluster(options.at.split(","), options.tls, options.topic)
    topic, _ = cluster.metadata()
    producer = cluster.any_node(lambda node: node.InitProducer(pb.InitProducerRequest(), timeout=2))
    senders = [PartitionSender(cluster, it.partition, producer) for it in topic.partitions]
    open_batches, sticky = [[] for _ in senders], 0
    for line in sys.stdin.buffer:
        key, tab, value = line.rstrip(b"\n").partition(b"\t")
        key, value = (key, value) if tab else (None, key)
        at = sticky if key is None else xxh64(key) % len(senders)
        open_batches[at].append((time.time_ns() // 1_000_000, key, value, []))
        if len(open_batches[at]) == BATCH_RECORDS:
            senders[at].input.put(open_batches[at])
            open_batches[at], sticky = [], (sticky + 1) % len(senders)
    for sender, records in zip(senders, open_batches):
        for last in ([records] if records else []) + [None]:
            sender.input.put(last)
    for sender in senders:
        sender.join()
    count = {name: sum(getattr(sender, name) for sender in senders)
             for name in ("stored", "in_doubt", "duplicates", "streams")}
    print(" ".join(f"{name}={number}" for name, number in count.items()))
    sys.exit(1 if count["in_doubt"] else 0)


if __name__ == "__main__":
    main()
