"""DEV, STAGING and PROD: every difference between them is a field here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """DynamoDB's provisioned capacity units of a table, with the limits of autoscaling."""

    least: int
    most: int


@dataclass(frozen=True)
class Cache:
    """ElastiCache: its node type, and number of nodes (more than one: with failover)."""

    node: str
    nodes: int


@dataclass(frozen=True)
class Reserved:
    """Concurrent executions that only a function has, and no more; None: what the account has."""

    recommend: int | None = None
    events: int | None = None
    #: One for every shard of the stream.
    tracking: int | None = None


@dataclass(frozen=True)
class Firewall:
    """Limits of the web firewall; rules that are not listed count what they would refuse."""

    #: Requests per second of one client (of one token), a minute long.
    client_rate: int
    #: Names of `stacks.firewall.RULES`. Let a new one count for a week before it is listed.
    blocks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Environment:
    """The configuration of a deployment."""

    name: str
    #: Memory of the functions on the request path, which also determines their share of a CPU.
    memory_mib: int
    #: Memory of training, which loads whole event logs. 3008 MiB is the limit of a new account.
    training_memory_mib: int
    #: Disk of the training function, for bundles and columns.
    training_disk_mib: int
    vpc: bool
    cache: Cache | None
    #: Capacity of every table; None: on demand.
    capacity: Capacity | None
    #: Shards of the event stream; None: on demand.
    shards: int | None
    alarms: bool
    #: Minutes without any request, or any event, that raise an alarm.
    quiet_minutes: int
    weekly_training: bool
    firewall: Firewall | None
    #: Start functions from a snapshot with the bundle loaded. Published versions then cost money.
    snap_start: bool
    #: Requests per second to a route, and the size of a burst. Routes whose requests carry
    #: hundreds of things get a share of it: see `stacks.api.BATCHES`.
    rate: int
    burst: int
    #: Of the request path and of the stream's consumer. An account keeps 100 that are nobody's.
    reserved: Reserved
    #: Dollars in a month of the account, of which 80% and all of it, spent or forecast, are told.
    budget: int
    #: Days that logs are kept.
    log_days: int
    #: Protect tables and user pool from deletion, even by CloudFormation.
    protected: bool


DEV = Environment(
    name="dev",
    memory_mib=1024,
    training_memory_mib=3008,
    training_disk_mib=2048,
    vpc=False,
    cache=None,
    capacity=None,
    shards=1,
    alarms=False,
    quiet_minutes=60,
    weekly_training=False,
    firewall=None,
    snap_start=False,
    rate=50,
    burst=100,
    reserved=Reserved(),
    budget=120,
    log_days=7,
    protected=False,
)

STAGING = Environment(
    name="staging",
    memory_mib=1024,
    training_memory_mib=3008,
    training_disk_mib=4096,
    vpc=True,
    cache=Cache(node="cache.t3.small", nodes=1),
    capacity=None,
    shards=1,
    alarms=False,
    quiet_minutes=60,
    weekly_training=False,
    firewall=Firewall(client_rate=100),
    snap_start=True,
    rate=200,
    burst=400,
    reserved=Reserved(),
    budget=300,
    log_days=30,
    protected=False,
)

PROD = Environment(
    name="prod",
    memory_mib=2048,
    training_memory_mib=10240,
    training_disk_mib=10240,
    vpc=True,
    cache=Cache(node="cache.r6g.large", nodes=2),
    capacity=Capacity(least=25, most=20_000),
    shards=None,
    alarms=True,
    quiet_minutes=30,
    weekly_training=True,
    firewall=Firewall(client_rate=1000, blocks=frozenset({"RateOfOneAddress", "RateOfOneClient"})),
    snap_start=True,
    rate=2000,
    burst=4000,
    reserved=Reserved(recommend=400, events=200, tracking=100),
    budget=4000,
    log_days=90,
    protected=True,
)

ENVIRONMENTS = {environment.name: environment for environment in (DEV, STAGING, PROD)}
