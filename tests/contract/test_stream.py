"""What a stream does in every home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from vireo.homes.aws import AwsHome
from vireo.homes.local import LocalHome
from vireo.ports import Home, Ports, Refused


def collected(home: Home, tenant: str) -> list[tuple[str, bytes]]:
    """What a reader of all shards finds of a tenant, shard by shard in order."""
    if isinstance(home, LocalHome):
        return [
            (r.key, r.payload)
            for shard in range(home.log.shards)
            for r in home.log.read(shard, limit=100_000)
            if r.tenant == tenant
        ]
    assert isinstance(home, AwsHome)
    client = home.clients("kinesis")
    found: list[tuple[str, bytes]] = []
    shards = client.list_shards(StreamName="events")["Shards"]
    for shard in shards:
        iterator: Any = client.get_shard_iterator(
            StreamName="events", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            answer = client.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                owner, _, key = record["PartitionKey"].partition("#")
                if owner == tenant:
                    found.append((key, record["Data"]))
            if not answer["Records"]:
                break
            iterator = answer["NextShardIterator"]
    return found


def test_everything_arrives_in_order_of_its_key(home: Home, tenant: str) -> None:
    stream = home.open(tenant).stream
    sent = [(f"user#{j % 7}", f"{j}".encode()) for j in range(200)]
    for start in range(0, 200, 50):
        assert stream.publish(sent[start : start + 50]) == [None] * 50
    found = collected(home, tenant)
    assert sorted(found) == sorted(sent)
    for key in {key for key, _ in sent}:
        assert [p for k, p in found if k == key] == [p for k, p in sent if k == key]


def test_a_record_that_cannot_be_taken_holds_up_no_other(home: Home, tenant: str) -> None:
    stream = home.open(tenant).stream
    reasons: Sequence[str | None] = stream.publish(
        [
            ("a", b"1"),
            ("", b"x"),
            ("b" * 201, b"x"),
            ("c", b""),
            ("d", b"x" * 1024 * 1024),
            ("e", b"2"),
        ]
    )
    assert [r is None for r in reasons] == [True, False, False, False, False, True]
    assert sorted(collected(home, tenant)) == [("a", b"1"), ("e", b"2")]


def test_many_megabytes_at_once(home: Home, tenant: str) -> None:
    sent = [(str(j), b"%d" % j * 500_000) for j in range(10, 22)]
    assert home.open(tenant).stream.publish(sent) == [None] * len(sent)
    assert sorted(collected(home, tenant)) == sorted(sent)


def test_at_most_five_hundred(ports: Ports) -> None:
    assert ports.stream.publish([]) == []
    with pytest.raises(Refused):
        ports.stream.publish([("a", b"1")] * 501)
