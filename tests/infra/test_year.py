"""A year in a few seconds: what was removed stays removed, no event is lost, alarms ring.

The clock is moved from hour to hour. Training comes to a verdict every week, half of them refusals,
once for seven weeks in a row, and once it stops; an accepted bundle is published as a deployment
publishes it. Every day a video is taken down or restricted, another added, and viewers watch.
Processes come and go: some run for months, some start anew, some are snapshots that sleep for weeks
and are restored; their clocks jump, and so do those of who changes the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.infra.cloudwatch import Alarm, CloudWatch
from tests.infra.scenes import HOUR, Prod
from tests.streams import delivery, files
from tests.worlds import VOCABULARY, arrays_of, catalogue, video
from tracking.app import follower
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.catalogue import updates
from vireo.catalogue.columns import encode
from vireo.catalogue.models import Status, Video, VideoBody
from vireo.catalogue.store import Catalogue
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.loop import Retention
from vireo.homes.local.mapping import EventSourceMapping
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports
from vireo.recommender.contents import CHANGES, ModelBundle
from vireo.recommender.models import RecommendRequest
from vireo.recommender.service import Recommender
from vireo.training import deployment, upkeep
from vireo.training.run import Decision, Run

DAY = 24 * HOUR
DAYS = 365
VIDEOS = 600
#: Weeks in which training is refused for seven weeks in a row, and in which it does not run.
REFUSALS, NO_TRAINING = range(20, 27), range(40, 43)
VIEWERS = [f"u{n}" for n in range(20)]


class ProcessClock:
    """The clock of one process: its own wall time, and a monotonic time that sleeps with it."""

    def __init__(self, world: MovableClock) -> None:
        self._world = world
        self._began = world.now()
        self.ahead = 0.0  #: seconds that its wall time is ahead of the world's

    def now(self) -> float:
        """Unix seconds, as this process has them."""
        return self._world.now() + self.ahead

    def monotonic(self) -> float:
        """Seconds that it has been awake."""
        return self._world.now() - self._began

    def sleep_until_now(self, awake: float) -> None:
        """Go on as if it had been awake for just so long."""
        self._began = self._world.now() - awake


@dataclass
class Process:
    """A recommender in a process of its own, with its own scratch folder."""

    ports: Ports
    clock: ProcessClock
    meter: LocalMeter
    recommender: Recommender
    awake: float = 0.0  #: its monotonic time when it was last asked

    @classmethod
    def start(cls, home: LocalHome, world: MovableClock, scratch: Path) -> Process:
        """A process that has loaded what serves now."""
        clock, meter = ProcessClock(world), LocalMeter()
        scratch.mkdir(parents=True)
        ports = replace(home.open("default"), clock=clock, meter=meter, scratch=str(scratch))
        process = cls(ports, clock, meter, Recommender(ports, viewer_seconds=30.0))
        process.ask("u0")
        return process

    def restore(self) -> None:
        """Wake up from a snapshot, a fifth of a second after it was taken."""
        self.clock.sleep_until_now(self.awake + 0.2)

    def ask(self, user: str) -> set[str]:
        """Ids of all that it answers a viewer in Germany, of unknown age, in all of its lists."""
        body = RecommendRequest.model_validate(
            {"user_id": user, "limit": 50, "context": {"country": "DE"}}
        )
        answer = self.recommender.recommend(body, "r")
        self.awake = self.clock.monotonic()
        assert answer.degraded == ()
        context = body.context
        listed = self.recommender.trending(50, context, None, None, "r")
        return {item.video_id for item in (*answer.items, *listed.items)}


@dataclass
class Year:
    """The world, and what is known of it."""

    folder: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    clock: MovableClock = field(default_factory=MovableClock)
    gone: set[str] = field(default_factory=set)  #: must never be answered again
    #: Viewer and video of every event by its id.
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    cloud: CloudWatch = field(default_factory=CloudWatch)

    def __post_init__(self) -> None:
        self.home = LocalHome(self.folder / "home", clock=self.clock)
        self.ports = self.home.open("default")
        self.catalogue = Catalogue(self.ports)
        self.catalogue.put_all(catalogue(VIDEOS))
        self.mapping = EventSourceMapping(
            self.home.log, self.folder / "tracking", follower(self.home)
        )
        self.delivery = delivery(self.home, self.folder / "collected")
        self.retention = Retention(self.home.log, [self.mapping, self.delivery], self.clock)
        self.published = self.decided = self.clock.now()
        self._started = 0

    def train(self, week: int, *, accepted: bool) -> None:
        """Come to a verdict and, if it is good, publish a bundle of the catalogue as it is."""
        run = Run(run_id=f"run-{week:03d}", tenant="default", trigger="schedule")
        self.decided = self.clock.now()
        deployment.record(run, self.ports, Decision(deploy=accepted))
        if not accepted:
            return
        changes = updates.latest(self.ports.records)
        columns = encode(list(self.catalogue.all()), VOCABULARY)
        made = ModelBundle.build(
            version=run.run_id,
            created_at=self.clock.now(),
            watermark=self.clock.now(),
            vocabulary=VOCABULARY,
            columns=columns,
            arrays=arrays_of(columns, seed=week),
            config={CHANGES: list(changes)},
        )
        bundles.publish(made, self.ports.blobs)
        pointer.switch(self.ports.records, made.version, expect=pointer.current(self.ports.records))
        self.published = self.clock.now()

    def process(self) -> Process:
        """A new one."""
        self._started += 1
        return Process.start(self.home, self.clock, self.folder / f"scratch-{self._started}")

    def change(self, day: int) -> None:
        """Take a video down, or restrict it; add one. Some clocks are an hour or two off."""
        left = sorted({v.video_id for v in self.catalogue.all()} - self.gone)
        unlucky = str(self.rng.choice(left))
        off = float(self.rng.choice([0.0, 0.0, 2 * HOUR, -HOUR]))
        clock = ProcessClock(self.clock)
        clock.ahead = off
        editor = Catalogue(replace(self.ports, clock=clock))
        body = self.catalogue.get(unlucky).model_dump(exclude={"video_id"})
        now = datetime.fromtimestamp(self.clock.now() - 3 * HOUR, UTC)
        restrictions: list[dict[str, Any]] = [
            {},
            {"status": Status.PRIVATE},
            {"countries_blocked": ("DE",)},
            {"age_rating": 18},
            {"available_until": now},
        ]
        restriction = restrictions[day % len(restrictions)]
        if restriction:
            editor.put(unlucky, VideoBody.model_validate(body | restriction))
        else:
            editor.delete(unlucky)
        self.gone.add(unlucky)
        added: Video = video(VIDEOS + day)
        self.catalogue.put(added.video_id, VideoBody(**added.model_dump(exclude={"video_id"})))

    def watch(self, day: int) -> None:
        """Viewers watch something, and whoever follows the stream follows it."""
        for n, user in enumerate(self.rng.choice(VIEWERS, 3, replace=False).tolist()):
            event = {
                "event_id": f"e{day}-{n}",
                "user_id": user,
                "video_id": f"v{int(self.rng.integers(VIDEOS))}",
                "type": "watch",
                "timestamp": self.clock.now() - 60.0 * n,
            }
            (failed,) = self.ports.stream.publish([(user, orjson.dumps(event))])
            assert failed is None
            self.sent[event["event_id"]] = user, event["video_id"]
        for step in (self.mapping.step, self.delivery.step, self.retention.step):
            while step()[0]:
                pass

    def measure(self, alarms: dict[str, Alarm], processes: list[Process]) -> None:
        """Have a day's hours measured as they are now, for the alarms that look at them."""
        age = max(p.meter.values("BundleAge")[-1] for p in processes)
        keeper = LocalMeter()
        upkeep.tell_ages(replace(self.ports, meter=keeper))
        told = {"BundleOld": [age], "TrainingMissing": keeper.values("TrainingAge")}
        for name, values in told.items():
            (metric,) = alarms[name].metrics
            for hour in range(6):
                at = self.clock.now() - HOUR * hour
                for value in values:
                    namespace, measured, dimensions = metric
                    self.cloud.put((namespace, measured), value, at, dict(dimensions))


@pytest.fixture
def year(tmp_path: Path) -> Iterator[Year]:
    made = Year(tmp_path)
    yield made
    made.home.close()


def test_a_year(year: Year, prod: Prod) -> None:
    alarms = {
        name: prod.alarm(name, fills_nothing=False) for name in ("BundleOld", "TrainingMissing")
    }
    rung: dict[str, list[int]] = {name: [] for name in alarms}
    year.train(0, accepted=True)
    long_running, sleeping = [year.process(), year.process()], [year.process()]
    refused = 0
    for day in range(1, DAYS + 1):
        year.clock.advance(DAY - HOUR)
        week = day // 7
        if day % 7 == 0 and week not in NO_TRAINING:
            accepted = week not in REFUSALS and bool(year.rng.integers(2))
            refused += not accepted
            year.train(week, accepted=accepted)
            if accepted:  # the snapshots of the version before are not restored any more
                sleeping.clear()
            long_running[week % 2] = year.process()
            sleeping.append(year.process())
        year.change(day)
        year.watch(day)
        year.clock.advance(60.0)
        asked = list(long_running)
        for process in asked:
            process.clock.ahead = float(year.rng.choice([0.0, 0.0, 0.0, DAY, -2 * HOUR]))
        if day % 5 == 0:
            process = sleeping[int(year.rng.integers(len(sleeping)))]
            process.restore()
            asked.append(process)
        for process in asked:
            answered = process.ask(str(year.rng.choice(VIEWERS)))
            assert len(answered) > 20
            assert not answered & year.gone, f"day {day}, {process.clock.ahead}"
        year.clock.advance(HOUR - 60.0)
        for process in long_running:
            process.clock.ahead = 0.0
            process.ask("u1")
        year.measure(alarms, long_running)
        for name, alarm in alarms.items():
            if alarm.state(year.cloud, year.clock.now() + 60.0) == "ALARM":
                rung[name].append(day)
            due = {
                "BundleOld": year.clock.now() - year.published > 21 * DAY,
                "TrainingMissing": year.clock.now() - year.decided > 8 * DAY,
            }
            assert (day in rung[name]) == due[name], f"{name} on day {day}"
    assert refused >= DAYS / 7 / 3
    assert min(map(len, rung.values())) >= 10, rung
    assert lost(year) == set()


def lost(year: Year) -> set[str]:
    """Ids of the events that are not in the files, or that their viewers do not know of."""
    year.clock.advance(HOUR)
    year.delivery.step(flush=True)
    collected = [row["event_id"] for rows in files(year.ports).values() for row in rows]
    assert len(collected) == len(set(collected))
    process = year.process()
    known = sum(process.recommender.viewers.get(user).watched for user in VIEWERS)
    assert known == len(set(year.sent.values()))
    return set(year.sent) - set(collected)
