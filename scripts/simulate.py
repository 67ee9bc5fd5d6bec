"""Simulates rounds of serving, collecting and retraining, with viewers of hidden tastes.

Half of the viewers are served by the model and half by popularity alone: an ordinary experiment,
reported from collected events. Events pass through the route's intake, the stream, its consumer and
the collected files; the model is trained by the steps of the state machine, gates included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from delivery.app import transform
from tracking.app import follower
from vireo.bundles import pointer as pointers
from vireo.events.intake import Intake
from vireo.events.models import BATCH
from vireo.events.parquet import as_parquet
from vireo.homes.chosen import opened
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.delivery import Delivery
from vireo.homes.local.mapping import EventSourceMapping
from vireo.jobs.progress import silent
from vireo.ports import Blobs, Ports, Table
from vireo.recommender.models import RecommendRequest
from vireo.recommender.service import Recommender
from vireo.training import generator
from vireo.training.data.collected import into_home
from vireo.training.generator.audience import Audience
from vireo.training.judging import experiments
from vireo.training.steps import TRAINING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where scripts/ is
from scripts.experiment import told

TENANT, DAY = "default", 86_400.0
STEPS = ("preprocess", "two_tower", "ranker", "evaluate", "deploy")
HALVES = {"popularity": 1.0, "model": 1.0}
CONFIG: dict[str, Any] = {"requests": 400, "tower": {"epochs": 8}}
#: Lower thresholds than usual: viewers watch what they are shown, which for half of them is
#: popular videos, and a model of tastes cannot predict that well.
GATES: dict[str, Any] = {"retrieval_ndcg": 0.15, "ranker_ndcg": 0.15}


@dataclass(frozen=True)
class Round:
    """The results of one day."""

    number: int
    version: str  #: of the model that served
    trial: experiments.Trial
    decision: str  #: on the model trained after it
    rivalry: tuple[str, ...]  #: comparison of the new model with the one that served


class Simulation:
    """A home in a folder, and its audience."""

    def __init__(
        self, home: LocalHome, clock: MovableClock, settings: generator.Settings, *, bias: float
    ) -> None:
        self.home, self.clock = home, clock
        self.audience = Audience(*generator.people(settings), bias=bias)
        self._intake = Intake(self.ports)
        self._recommender: Recommender | None = None

        def blobs(tenant: str) -> Blobs:
            return home.open(tenant).blobs

        stream = home.folder / "stream"
        self._mapping = EventSourceMapping(
            self.home.log, stream / "tracking", follower(self.home), sync=self.home.sync
        )
        self._delivery = Delivery(
            self.home.log,
            stream / "collected",
            transform=transform,
            convert=as_parquet,
            blobs=blobs,
            clock=self.clock,
        )

    @property
    def ports(self) -> Ports:
        """The ports of the only tenant."""
        return self.home.open(TENANT)

    def train(self, run: str, seed: int) -> str:
        """Run the steps of the state machine once, and return the decision."""
        document: dict[str, Any] = {
            "run_id": run,
            "tenant": TENANT,
            "seed": seed,
            "config": CONFIG,
            "gates": GATES,
        }
        for step in STEPS:
            document = TRAINING.perform(step, document, self.ports, silent)
            decision = document.get("decision") or {"deploy": True}
            if not decision["deploy"]:
                return "refused: " + "; ".join(decision["reasons"])
        return "deployed"

    def rivalry(self, run: str) -> tuple[str, ...]:
        """The verdicts of a run's gates on the comparison with production's model."""
        report = orjson.loads(self.ports.blobs.read(f"runs/{run}/report/report.json"))
        verdicts = [v for v in report["verdicts"] if "the model in production" in v["gate"]]
        return tuple(f"{v['gate']}: {v['why']}" for v in verdicts)

    def serve(self, number: int, requests: int) -> experiments.Trial:
        """Serve one day of visits, and return the experiment's results from collected events."""
        experiment = f"day-{number}"
        self._split(experiment)
        self.clock.advance(60.0)
        # A new process has the new settings and model at once.
        self._recommender = Recommender(self.ports, viewer_seconds=30.0)
        began = self.clock.now()
        for j, viewer in enumerate(self.audience.visitors(requests).tolist()):
            self.clock.advance(max(0.0, began + 0.9 * DAY * j / requests - self.clock.now()))
            self._visit(viewer, f"{experiment}-{j}")
        self._settle(requests)
        self.clock.advance(max(0.0, began + DAY - self.clock.now()))
        return experiments.read(self.ports, experiment, HALVES)

    def _split(self, experiment: str) -> None:
        records = self.ports.records
        for record in records.query(Table.SETTINGS, "experiments").records:
            records.delete(Table.SETTINGS, "experiments", record.sort)
        variants = [
            {"name": name, "tuning": {"popularity_only": name == "popularity", "explore_slots": 0}}
            for name in HALVES
        ]
        records.put(
            Table.SETTINGS, "experiments", experiment, {"name": experiment, "variants": variants}
        )

    def _visit(self, viewer: int, request_id: str) -> None:
        assert self._recommender is not None
        asked = RecommendRequest.model_validate(self.audience.request(viewer))
        answer = self._recommender.recommend(asked, request_id)
        shown = [item.video_id for item in answer.items]
        now = self.clock.now()
        events = self.audience.react(viewer, shown, request_id, now)
        self.clock.advance(max(0.0, max(e["timestamp"] for e in events) - now) if events else 0.0)
        for start in range(0, len(events), BATCH):
            taken = self._intake.take(events[start : start + BATCH])
            assert taken.accepted == len(taken.events), taken
        self._mapping.step()

    def _settle(self, requests: int) -> None:
        """Process and collect all of the stream; exposures are published in the background."""
        deadline = time.monotonic() + 10
        # Exposures wait in the log, since nothing is delivered before the end of a day.
        while sum(b'"exposure"' in p for p in self._delivery.waiting()) < requests:
            assert time.monotonic() < deadline, "exposures were lost"
            time.sleep(0.05)
        while self._mapping.step() != (0, False):
            pass
        self._delivery.step(flush=True)


def simulate(
    folder: Path, settings: generator.Settings, *, days: int, requests: int, bias: float
) -> Iterator[Round]:
    """The days, one by one, after a first training on generated data."""
    clock = MovableClock(settings.end + 3600)
    home = opened(folder, clock=clock)
    into_home(generator.generate(settings), home.open(TENANT))
    world = Simulation(home, clock, settings, bias=bias)
    first = world.train("run-0", settings.seed)
    if first != "deployed":
        raise SystemExit(f"the first model was {first}")
    for number in range(1, days + 1):
        pointer = pointers.current(world.ports.records)
        assert pointer is not None
        trial = world.serve(number, requests)
        decision = world.train(f"run-{number}", settings.seed)
        rivalry = world.rivalry(f"run-{number}")
        yield Round(number, pointer.version, trial, decision, rivalry)
    home.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print every day."""
    options = _options(arguments)
    if options.state is not None and options.state.is_dir() and any(options.state.iterdir()):
        raise SystemExit(f"{options.state} is not empty; a simulation needs a folder of its own")
    settings = generator.Settings(300, 1_000, 30_000, seed=options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        for one in simulate(
            options.state or Path(scratch),
            settings,
            days=options.days,
            requests=options.requests,
            bias=options.bias,
        ):
            print(f"day {one.number}, served by {one.version}\n{told(one.trial)}")
            print(f"the model trained on it: {one.decision}")
            print("\n".join(one.rivalry) + "\n", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2_000, help="per day")
    parser.add_argument("--bias", type=float, default=0.6, help="decay of attention by place")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--state", type=Path, help="a new folder for the state")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
