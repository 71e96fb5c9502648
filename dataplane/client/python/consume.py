"""Prints all records of a topic, "partition offset key TAB value", up to the end of the log.

    consume.py TOPIC --at HOST:PORT,... --tls DIR
"""

import argparse
import sys
import time

import grpc
from wire import RETRYABLE_CODES, Cluster, pb


def read(cluster, partition, position):
    """Yields the records, across failures: each read continues where the last one ended."""
    while True:
        request = pb.FetchRequest(topic=cluster.topic, partition=partition, position=position)
        try:
            reply = cluster.any_node(lambda node: node.Fetch(request, timeout=5))
        except grpc.RpcError as error:
            if error.code().value[0] not in RETRYABLE_CODES:
                raise
            time.sleep(0.1)
            continue
        yield from reply.records
        if reply.next_offset >= reply.high_watermark:
            return
        position = pb.Position(offset=reply.next_offset)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("topic")
    arguments.add_argument("--at", required=True, help="host:port of nodes, with commas between")
    arguments.add_argument("--tls", required=True, help="folder with ca.crt, tls.crt, tls.key")
    options = arguments.parse_args()
    cluster = Cluster(options.at.split(","), options.tls, options.topic)
    topic, _ = cluster.metadata()
    for partition in topic.partitions:
        for fetched in read(cluster, partition.partition, pb.Position(earliest=True)):
            line = f"{partition.partition} {fetched.offset} ".encode()
            sys.stdout.buffer.write(
                line + fetched.record.key + b"\t" + fetched.record.value + b"\n"
            )


if __name__ == "__main__":
    main()
