"""Computes what an environment costs a month, from its resources, a stated load, and prices.

    scripts/costs.py            print the section "Cost" of docs/operations.md
    scripts/costs.py --write    write it
    scripts/costs.py --check    say whether it is stale

Resources are counted in the templates; how often they are used is the `Load` of the environment.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where app.py and stacks/ are

from app import synthesise
from stacks.emitted import ANSWERING, EMITTED
from stacks.environments import ENVIRONMENTS, Environment
from vireo.training.upkeep import DAY, KEPT
from vireo.viewers.rows import SETTLE

DOCUMENT = Path(__file__).parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- costs: written by scripts/costs.py -->\n", "<!-- end of costs -->\n"
REGION, AS_OF = "us-east-1", "2026-06"
HOURS, GIB = 730.0, 2.0**30
SECONDS, MONTHS_KEPT = 3600 * HOURS, round(KEPT.events / (365 * DAY) * 12)
#: Seconds between publications of what is hot, and shards that a stream on demand begins with.
PUBLISHED, ON_DEMAND = 30.0, 4
#: MiB of memory at which a function has one full processor.
PROCESSOR_MIB = 1769


@dataclass(frozen=True)
class Price:
    """The price of one unit."""

    dollars: float
    unit: str
    seen: bool = True  #: quoted by a public page; otherwise not looked up


#: By the name of an entry; see the file.
PRICES = {
    name: Price(**price)
    for name, price in tomllib.loads(
        (Path(__file__).parent / "prices" / f"{REGION}.toml").read_text(encoding="utf-8")
    ).items()
}


@dataclass(frozen=True)
class Load:
    """The use of an environment in a month."""

    requests: float  #: for recommendations
    viewers: float  #: with a record
    trainings: float
    callers: int = 2  #: that ask for a token every hour


LOADS = {
    "dev": Load(requests=1e5, viewers=1e4, trainings=2),
    "staging": Load(requests=1e6, viewers=1e5, trainings=2),
    "prod": Load(requests=1e8, viewers=1e6, trainings=4.33),
}


@dataclass(frozen=True)
class Catalogue:
    """The figures that depend on the number of videos; measured, see docs/performance.md."""

    videos: float
    request_ms: float  #: CPU of one request
    bundle_gb: float


CATALOGUES = {
    "100K": Catalogue(videos=1e5, request_ms=5.8, bundle_gb=0.141),
    "1M": Catalogue(videos=1e6, request_ms=7.8, bundle_gb=1.328),
}


@dataclass(frozen=True)
class Habits:
    """The assumptions about every environment."""

    events: float = 10  #: caused by a list of recommendations
    batch: float = 10  #: events in one call of POST /v1/events
    together: float = 4  #: events of a viewer in one write of the consumer
    event_kb: float = 0.4
    past_kb: float = 16  #: of a viewer's rows (vireo/viewers/rows.py): 88 at most,
    now_kb: float = 1.5  #: 3 at most,
    seen_kb: float = 26  #: all of the window's ids, and the videos viewed
    counters_kb: float = 160  #: of the hot counters that a batch rewrites, 300 at most
    answer_kb: float = 5
    log_kb: float = 2  #: of a call in all logs
    store_ms: float = 5  #: of a request, waiting for the viewer's record
    intake_ms: float = 10  #: CPU of a call of POST /v1/events
    followed: float = 500  #: events in a batch of the stream
    follow_ms: float = 0.15  #: CPU of the stream's two functions for an event
    restored: float = 1e-3  #: share of the calls that start a process
    traced: float = 0.05  #: share of the calls
    headroom: float = 1.43  #: capacity over use: autoscaling keeps tables at 70%
    answering: float = 2  #: versions of a function that answer at a time
    snapshots: float = 3  #: versions of a function that upkeep keeps
    bundles: float = 10  #: in the bucket, as upkeep keeps them
    training_seconds: float = 2700  #: of a run, all states together
    parquet_kb: float = 0.06  #: of an event in the files


HABITS = Habits()


@dataclass(frozen=True)
class Line:
    """An entry of the bill."""

    price: str
    quantity: float

    @property
    def dollars(self) -> float:
        """The cost in a month."""
        return PRICES[self.price].dollars * self.quantity


def count(templates: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Resources by type, and what costs by its number: ``rules``, ``zones``, ``snapped`` …"""
    found: Counter[str] = Counter()
    for template in templates:
        for resource in template["Resources"].values():
            kind, properties = resource["Type"], resource.get("Properties", {})
            found[kind] += 1
            if kind == "AWS::WAFv2::WebACL":
                found["rules"] += len(properties["Rules"])
            if kind == "AWS::EC2::VPCEndpoint" and properties["VpcEndpointType"] == "Interface":
                found["zones"] += len(properties["SubnetIds"])
            found["snapped"] += "SnapStart" in properties  # functions, each with versions
            if kind == "AWS::CloudWatch::Alarm":  # a formula's alarm costs one per metric
                terms = [m for m in properties.get("Metrics", []) if "MetricStat" in m]
                found["alarmed"] += max(1, len(terms))
    return found


def bill(
    environment: Environment, resources: Mapping[str, int], load: Load, catalogue: Catalogue
) -> list[Line]:
    """Every entry of a month's bill."""
    lines = [
        *_compute(environment, resources, load, catalogue),
        *_entrance(resources, load),
        *_tables(environment, resources, load, catalogue),
        *_stream(environment, load),
        *_standing(environment, resources),
        *_watching(resources, load),
    ]
    kept = load.requests * HABITS.events * HABITS.parquet_kb * 1024 / GIB * MONTHS_KEPT
    lines.append(Line("S3", HABITS.bundles * catalogue.bundle_gb + kept))
    return [line for line in lines if line.quantity]


def _calls(load: Load) -> float:
    """Calls of the API: requests, and their events in batches."""
    return load.requests * (1 + HABITS.events / HABITS.batch)


def _compute(
    environment: Environment, resources: Mapping[str, int], load: Load, catalogue: Catalogue
) -> Iterator[Line]:
    gb = environment.memory_mib / 1024
    slower = max(1.0, PROCESSOR_MIB / environment.memory_mib)
    events = load.requests * HABITS.events
    milliseconds = load.requests * (catalogue.request_ms * slower + HABITS.store_ms)
    milliseconds += events / HABITS.batch * (HABITS.intake_ms * slower + HABITS.store_ms)
    milliseconds += events * HABITS.follow_ms * slower
    milliseconds += events / HABITS.together * HABITS.store_ms
    training = load.trainings * HABITS.training_seconds * environment.training_memory_mib / 1024
    yield Line("Lambda, ARM", milliseconds / 1e3 * gb + training)
    yield Line("Lambda calls", (_calls(load) + 2 * events / HABITS.followed) / 1e6)
    if environment.snap_start:
        kept = resources["snapped"] * HABITS.snapshots
        yield Line("Lambda snapshots, kept", kept * gb * SECONDS)
        yield Line("Lambda snapshots, restored", HABITS.restored * _calls(load) * gb)


def _entrance(resources: Mapping[str, int], load: Load) -> Iterator[Line]:
    calls = _calls(load) / 1e6
    yield Line("API Gateway", calls)
    yield Line("WAF, list", resources["AWS::WAFv2::WebACL"])
    yield Line("WAF, rule", resources["rules"])
    yield Line("WAF, requests", calls * bool(resources["AWS::WAFv2::WebACL"]))
    yield Line("Cognito, client", load.callers)
    yield Line("Cognito, token", load.callers * HOURS)
    yield Line("Data out", load.requests * HABITS.answer_kb * 1024 / GIB)


def _tables(
    environment: Environment, resources: Mapping[str, int], load: Load, catalogue: Catalogue
) -> Iterator[Line]:
    """DynamoDB. A unit reads 4 KB or writes 1 KB; in transactions, half of that.

    Only viewers' rows and hot counters have a significant load; publishing reads two buckets.
    """
    events = load.requests * HABITS.events
    follows, batches = events / HABITS.together, events / HABITS.followed
    past, now, seen = (math.ceil(kb) for kb in (HABITS.past_kb, HABITS.now_kb, HABITS.seen_kb))
    reads = load.requests * math.ceil((past + now) / 4) + follows * math.ceil((now + seen) / 4)
    writes = follows * now + events / SETTLE * 2 * (past + now + seen)
    counted, shards = batches * math.ceil(HABITS.counters_kb), environment.shards or ON_DEMAND
    polled = (batches + 2 * shards * SECONDS / PUBLISHED) * math.ceil(HABITS.counters_kb / 4)
    if environment.capacity is None:
        yield Line("DynamoDB, reads on demand", (reads + polled) / 1e6)
        yield Line("DynamoDB, writes on demand", (writes + counted) / 1e6)
    else:
        least = environment.capacity.least
        idle = (resources["AWS::DynamoDB::Table"] - 2) * least
        for price, used in (("read", (reads, polled)), ("write", (writes, counted))):
            busy = sum(max(least, units / SECONDS * HABITS.headroom) for units in used)
            yield Line(f"DynamoDB, {price} capacity", (idle + busy) * HOURS)
    stored = (load.viewers * (past + now + seen) + catalogue.videos) * 1024 / GIB
    yield Line("DynamoDB, storage", stored)
    yield Line("DynamoDB, recovery", stored)


def _stream(environment: Environment, load: Load) -> Iterator[Line]:
    """Kinesis counts whole kilobytes of a record, Firehose five of them; both keep seven days."""
    events = load.requests * HABITS.events
    gb = events * math.ceil(HABITS.event_kb) * 1024 / GIB
    if environment.shards is None:
        yield Line("Kinesis, stream", HOURS)
        yield Line("Kinesis, written", gb)
        yield Line("Kinesis, read", 2 * gb)
        yield Line("Kinesis, kept", gb * 6 * 24 / HOURS)
    else:
        yield Line("Kinesis, shard", environment.shards * HOURS)
        yield Line("Kinesis, shard kept seven days", environment.shards * HOURS)
        yield Line("Kinesis, shard written", events * math.ceil(HABITS.event_kb / 25) / 1e6)
    for price in ("Firehose", "Firehose, Parquet", "Firehose, partitions"):
        yield Line(price, 5 * gb)
    if environment.vpc:
        yield Line("VPC endpoint, data", gb)


def _standing(environment: Environment, resources: Mapping[str, int]) -> Iterator[Line]:
    """Costs that do not depend on use."""
    if environment.cache is not None:
        yield Line(f"Cache, {environment.cache.node}", environment.cache.nodes * HOURS)
    yield Line("NAT gateway", resources["AWS::EC2::NatGateway"] * HOURS)
    yield Line("VPC endpoint", resources["zones"] * HOURS)
    yield Line("Key", resources["AWS::KMS::Key"])


def _watching(resources: Mapping[str, int], load: Load) -> Iterator[Line]:
    yield Line("Metric", sum(_in_use(dimension) for dimension in EMITTED.values()))
    yield Line("Alarm", resources["alarmed"])
    yield Line("Dashboard", resources["AWS::CloudWatch::Dashboard"])
    yield Line("Logs", _calls(load) * HABITS.log_kb * 1024 / GIB)
    yield Line("Traces", _calls(load) * HABITS.traced / 1e6)


def _in_use(dimension: tuple[str, tuple[str, ...]] | None) -> float:
    """Metrics of a name that are written: of versions, only of those that answer."""
    if dimension is None:
        return 1
    name, values = dimension
    return len(ANSWERING) * HABITS.answering if name == "version" else len(values)


def section(resources: Mapping[str, Mapping[str, int]]) -> str:
    """The text between the marks: totals, entries with their prices, and the load."""
    columns = {
        f"{name}, {size}": bill(environment, resources[name], LOADS[name], catalogue)
        for size, catalogue in CATALOGUES.items()
        for name, environment in ENVIRONMENTS.items()
    }
    sums = [
        {price: sum(line.dollars for line in lines if line.price == price) for price in PRICES}
        for lines in columns.values()
    ]
    total = ["**a month**", "", *(f"**{_money(sum(s.values()))}**" for s in sums)]
    entries = [
        [name, f"{price.dollars:.6g} / {price.unit}{'' if price.seen else ' *'}"]
        + [_money(s[name]) for s in sums]
        for name, price in PRICES.items()
    ]
    habits = ", ".join(f"`{f.name}` {getattr(HABITS, f.name):g}" for f in fields(Habits))
    return "\n".join(
        [
            "US dollars a month by environment and number of videos, computed from the resources "
            f"of the templates, the load below and prices of {REGION} in {AS_OF}, without free "
            "tiers, discounts and taxes. Prices are those that public pages quote; those with a "
            "star were not found there. **Look all of them up, for your region, before relying on "
            "a figure.**",
            "",
            *_table(["", "price", *columns], [total, *entries]),
            "",
            "The load of a month:",
            "",
            *_table(
                ["", "", *LOADS],
                [
                    [f.name, "", *(f"{getattr(x, f.name):,.10g}" for x in LOADS.values())]
                    for f in fields(Load)
                ],
            ),
            "",
            f"And of every environment: {habits}; files of events are kept for {MONTHS_KEPT} "
            "months. `scripts/costs.py` says what these words mean; change them there, and run it "
            "with `--write`.",
            "",
        ]
    )


def _money(dollars: float) -> str:
    if dollars < 0.005:
        return "–" if dollars == 0 else "0"
    return f"{dollars:,.0f}" if dollars >= 10 else f"{dollars:.2f}"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, ["---", "---", *("---:" for _ in head[2:])], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def document(resources: Mapping[str, Mapping[str, int]], text: str) -> str:
    """The document with its section up to date. Raises ValueError if the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN.strip()} … {END.strip()}")
    return before + BEGIN + section(resources) + END + after


def counted(name: str, folder: Path) -> Counter[str]:
    """The resources of an environment, which is synthesised into a folder."""
    synthesise(ENVIRONMENTS[name], folder=str(folder), built=False)
    return count(json.loads(path.read_text()) for path in sorted(folder.glob("*.template.json")))


def main() -> None:
    """Print, write or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        resources = {name: counted(name, Path(folder) / name) for name in ENVIRONMENTS}
    text = DOCUMENT.read_text()
    if options.check:
        if document(resources, text) != text:
            sys.exit("docs/operations.md is stale: run scripts/costs.py --write")
    elif options.write:
        DOCUMENT.write_text(document(resources, text))
    else:
        sys.stdout.write(section(resources))


if __name__ == "__main__":
    main()
