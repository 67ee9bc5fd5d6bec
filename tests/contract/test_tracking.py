"""The consumer follows what either home's stream delivers, by the function that Lambda calls."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.oracles_events import assert_followed
from tests.streams import BAD, stream
from tracking.app import follower
from vireo.homes.aws import AwsHome
from vireo.homes.local import LocalHome
from vireo.homes.local.mapping import BATCH, kinesis_record
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Home, Ports, Unavailable

Records = list[dict[str, Any]]


def shards(home: Home) -> list[Records]:
    """All records of every shard, as an event source mapping hands them over."""
    if isinstance(home, LocalHome):
        return [
            [kinesis_record(shard, record) for record in home.log.read(shard, limit=10**6)]
            for shard in range(home.log.shards)
        ]
    assert isinstance(home, AwsHome)
    client = home.clients("kinesis")
    names = [s["ShardId"] for s in client.list_shards(StreamName="events")["Shards"]]
    return [list(_read(client, name)) for name in names]


def _read(client: Any, shard: str) -> Iterator[dict[str, Any]]:
    iterator = client.get_shard_iterator(
        StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    while (answer := client.get_records(ShardIterator=iterator))["Records"]:
        iterator = answer["NextShardIterator"]
        for record in answer["Records"]:
            yield {
                "eventID": f"{shard}:{record['SequenceNumber']}",
                "eventSource": "aws:kinesis",
                "kinesis": {
                    "partitionKey": record["PartitionKey"],
                    "sequenceNumber": record["SequenceNumber"],
                    "data": base64.b64encode(record["Data"]).decode(),
                    "approximateArrivalTimestamp": record[
                        "ApproximateArrivalTimestamp"
                    ].timestamp(),
                },
            }


class Died(BaseException):
    """The function's process is gone."""


class Shaky:
    """A home whose records now and then fail, or die, before or after they have done it."""

    def __init__(self, home: Home, seed: int, often: float) -> None:
        self._home = home
        self._random = random.Random(seed)
        self._often = often

    def open(self, tenant: str) -> Ports:
        ports = self._home.open(tenant)
        shaky = self

        class Records:
            def __getattr__(self, name: str) -> Any:
                def call(*given: Any, **named: Any) -> Any:
                    shaky.roll()
                    result = getattr(ports.records, name)(*given, **named)
                    shaky.roll()
                    return result

                return call

        return replace(ports, records=Records())

    def roll(self) -> None:
        if self._random.random() < self._often:
            raise Died if self._random.random() < 0.3 else Unavailable("lost")


def deliver(home: Home, records: Records) -> int:
    """As Lambda does with ReportBatchItemFailures; returns how many batches came again."""
    handler, start, again = follower(home), 0, 0
    while start < len(records):
        batch = records[start : start + BATCH]
        try:
            answer = handler({"Records": batch}, None)
        except Died:
            handler, again = follower(home), again + 1
            continue
        failed = {f["itemIdentifier"] for f in answer["batchItemFailures"]}
        places = [j for j, r in enumerate(batch) if r["kinesis"]["sequenceNumber"] in failed]
        start += min(places, default=len(batch))
        again += bool(failed)
    return again


def test_thousands_of_events_and_many_failures(home: Home, tenant: str) -> None:
    ports = home.open(tenant)
    # moto stamps what arrives by the real clock, and takes a minute for ten thousand.
    local = isinstance(home, LocalHome)
    now, n = (home.clock.now(), 20_000) if local else (time.time(), 4_000)
    sent = stream(n, seed=5, users=20, rate=200.0, start=now - 200)
    for start in range(0, len(sent), 500):
        chunk = [(key, data) for key, data, _ in sent[start : start + 500]]
        assert ports.stream.publish(chunk) == [None] * len(chunk)
    # What other tests have sent belongs to their tenants.
    own = [
        [r for r in records if r["kinesis"]["partitionKey"].startswith(f"{tenant}#")]
        for records in shards(home)
    ]
    assert sum(map(len, own)) == len(sent)
    assert sum(deliver(Shaky(home, 1, 80 / n), records) for records in own) > 3
    arrivals = [_arrival(r) for records in own for r in records]
    assert assert_followed(ports.records, arrivals) == n
    buried = {(a.key, a.payload, a.position) for _, a, _ in DeadLetters(ports.blobs).all()}
    assert buried == {(a.key, a.payload, a.position) for a in arrivals if a.payload in BAD}
    # All of it once more, from the beginning: nothing moves.
    assert sum(deliver(home, records) for records in own) == 0
    assert_followed(ports.records, arrivals)


def _arrival(record: dict[str, Any]) -> Arrival:
    kinesis = record["kinesis"]
    return Arrival(
        kinesis["partitionKey"].partition("#")[2],
        base64.b64decode(kinesis["data"]),
        record["eventID"].partition(":")[0],
        int(kinesis["sequenceNumber"]),
        kinesis["approximateArrivalTimestamp"],
    )
