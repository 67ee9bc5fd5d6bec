"""Runs all of Vireo on this machine: data, training, and the API with its documentation.

The first start generates data, runs the state machine that is deployed to AWS, and publishes a
bundle; a later one finds these in the state folder and serves at once. An interrupted start is
continued by the next. If the gates refuse the first model, popular videos are served until a model
passes.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from delivery.app import transform
from services import build
from tracking.app import follower
from upkeep.app import keeper
from vireo.bundles import pointer
from vireo.homes.chosen import json_file, opened, usable
from vireo.homes.limits import BURST, RATE, SHARES
from vireo.homes.local import LocalHome
from vireo.homes.local.delivery import Delivery
from vireo.homes.local.gateway import Gateway, serve
from vireo.homes.local.loop import Loop, Retention
from vireo.homes.local.mapping import EventSourceMapping
from vireo.homes.local.rates import Rates
from vireo.homes.local.tokens import LocalTokens
from vireo.identity import SCOPES
from vireo.jobs.progress import Progress, within
from vireo.jobs.task import task
from vireo.jobs.terminal import Terminal
from vireo.ports import Blobs, Execution, Missing, Ports

TENANT = "default"
#: Choices of ``--size``: viewers, videos, events, and overrides of the training's configuration.
SIZES: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "small": (300, 1_000, 30_000, {"requests": 400, "tower": {"epochs": 8}}),
    "default": (2_000, 10_000, 300_000, {"requests": 1200, "ranker": {"iterations": 150}}),
    "large": (20_000, 50_000, 3_000_000, {}),
}
DAY = 86400
#: Blob with the unfinished training run, which the next start continues.
BEGUN = "first-run.json"


def main() -> None:
    """Seed, train, serve."""
    options = _options()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("vireo.access").setLevel(logging.INFO if options.log else logging.WARNING)
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    functions: dict[str, Any] = {}
    if not options.no_serve:
        _must_be_free(options.port)
    home = opened(
        options.state,
        redis_url=os.environ.get("REDIS_URL"),
        functions=functions,
        definitions=Path(__file__).parent.parent / "statemachines",
    )
    try:
        ports = home.open(TENANT)
        # What it needs to serve is looked at before anything is trained.
        parts = None if options.no_serve else _parts(home, options.state)
        if options.train or pointer.current(ports.records) is None:
            with Terminal() as terminal:
                _seed(ports, options, terminal.task("data"))
                execution = _train(home, ports, options, functions, terminal)
            _tell(execution, ports, options.state)
        if parts is not None:
            _serve(home, options, *parts)
    except KeyboardInterrupt:
        print("\nStopped. `make local` goes on from here.", file=sys.stderr)
    finally:
        home.close()


def _must_be_free(port: int) -> None:
    """Stop before anything is trained if nothing could be served then."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise SystemExit(
                f"Port {port} cannot be listened on: {error}. Another: `make local PORT=8080`"
            ) from None


def _seed(ports: Ports, options: argparse.Namespace, progress: Progress) -> None:
    """Generate data, unless the home has events already (from an import, or an earlier start)."""
    begun = "seeding.json"
    names = ports.blobs.names
    if next(iter(names("events/")), None) is not None and begun not in names(begun):
        return
    ports.blobs.write(begun, b"{}")
    # Imported when needed: a start that only serves must not wait for it.
    from vireo.training import generator  # noqa: PLC0415
    from vireo.training.data.collected import into_home  # noqa: PLC0415

    viewers, videos, events, _ = SIZES[options.size]
    progress(0.0, f"{viewers:,} viewers, {videos:,} videos, {events:,} events")
    midnight = ports.clock.now() // DAY * DAY
    settings = generator.Settings(viewers, videos, events, seed=options.seed, end=midnight)
    data = generator.generate(settings)
    into_home(data, ports, within(progress, 0.5, 1.0, "storing "))
    ports.blobs.delete(begun)
    progress(1.0, "stored")


def _train(
    home: LocalHome,
    ports: Ports,
    options: argparse.Namespace,
    functions: dict[str, Any],
    terminal: Terminal,
) -> Execution:
    """Run the training state machine and wait for it, showing the progress of its steps."""
    # Imported when needed: a start that only serves must not wait for it.
    from vireo.training.steps import TRAINING  # noqa: PLC0415

    functions["TrainingFunction"] = task(home, TRAINING, terminal)
    document = _document(ports, options)
    name = f"{document['run_id']}-{secrets.token_hex(3)}"
    ports.executions.start("training", name, document)
    while True:
        execution = ports.executions.describe("training", name)
        if execution.status != "RUNNING":
            break
        time.sleep(0.2)
    if execution.status == "SUCCEEDED":
        ports.blobs.delete(BEGUN)
    return execution


def _document(ports: Ports, options: argparse.Namespace) -> dict[str, Any]:
    """The run document: that of an unfinished run, or a new one."""
    try:
        begun: dict[str, Any] = orjson.loads(ports.blobs.read(BEGUN))
        return begun
    except Missing:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(ports.clock.now()))
        document = {
            "run_id": f"run-{stamp}",
            "tenant": TENANT,
            "trigger": "manual",
            "seed": options.seed,
            "config": _settings(options),
        }
        ports.blobs.write(BEGUN, orjson.dumps(document))
        return document


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The training's configuration: from a file, or that of the size."""
    settings: dict[str, Any] | None = options.settings
    return SIZES[options.size][3] if settings is None else settings


def _tell(execution: Execution, ports: Ports, state: Path) -> None:
    """Print the outcome of training and the serving bundle; exit if nothing can serve."""
    output = execution.output or {}
    decision = output.get("decision") or {}
    if execution.status == "SUCCEEDED" and decision.get("deploy"):
        report = state / "blobs" / TENANT / f"bundles/{output['version']}/report.html"
        print(f"\nPublished {output['version']}. Report: {report}")
        return
    serving = pointer.current(ports.records)
    if execution.status == "SUCCEEDED":
        reasons = "\n".join(f"  - {reason}" for reason in decision.get("reasons", []))
        report = state / "blobs" / TENANT / f"runs/{output['run_id']}/report/report.html"
        print(f"\nThe gates refused the model:\n{reasons}\nReport: {report}")
        if serving is None:
            # Imported when needed: a start that only serves must not wait for it.
            from vireo.training.deployment import serve_without_models  # noqa: PLC0415
            from vireo.training.run import Run  # noqa: PLC0415

            serve_without_models(Run.of(output), ports)
            print(
                "\nWhat is popular serves instead, without a model. What helps is more events: "
                "send\nor import some (scripts/import_dataset.py), then start with --train."
            )
        else:
            print(f"\n{serving.version} serves on.")
        return
    failed = f"\nTraining ended as {execution.status}: {execution.error}: {execution.cause}"
    if serving is None:
        raise SystemExit(failed)
    print(f"{failed}\n{serving.version} serves on.", file=sys.stderr)


def _parts(home: LocalHome, state: Path) -> tuple[LocalTokens, list[Loop]]:
    """The key, and what reads the stream. Raises SystemExit, with a sentence, for a bad file."""
    with usable(state):
        return LocalTokens(state), _loops(home, state / "stream")


def _serve(
    home: LocalHome, options: argparse.Namespace, tokens: LocalTokens, loops: Sequence[Loop]
) -> None:
    """Run the gateway until it is interrupted, with a first recommendation over HTTP."""
    token = tokens.issue(
        home, tenant=TENANT, client="laptop-default", scopes=list(SCOPES), seconds=7 * DAY
    )
    api = build(home)
    gateway = Gateway(
        api.resolve,
        tokens.verify,
        api.operations(),
        openapi=api.get_openapi_json_schema,
        rates=Rates(RATE, BURST, shares=SHARES),
    )
    server = serve(gateway, port=options.port)
    for loop in loops:
        loop.start()
    greeter = threading.Thread(
        target=_greet, args=(server, token, options.port), name="greeting", daemon=True
    )
    greeter.start()
    try:
        server.run()
    finally:
        for loop in loops:
            loop.stop()


def _loops(home: LocalHome, folder: Path) -> list[Loop]:
    """Readers of the stream, and upkeep.

    Viewers and counters follow at once, files for training after a minute; old files go daily.
    """
    mapping = EventSourceMapping(home.log, folder / "tracking", follower(home), sync=home.sync)

    def blobs(tenant: str) -> Blobs:
        return home.open(tenant).blobs

    def convert(payloads: Sequence[bytes]) -> bytes:
        # Imported when needed: a start that only serves must not wait for it.
        from vireo.events.parquet import as_parquet  # noqa: PLC0415

        return as_parquet(payloads)

    delivery = Delivery(
        home.log,
        folder / "collected",
        transform=transform,
        convert=convert,
        blobs=blobs,
        clock=home.clock,
    )
    retention = Retention(home.log, [mapping, delivery], home.clock)

    def keep() -> tuple[int, bool]:
        keeper(home)({"task": "tidy", "tenant": TENANT}, None)
        return 0, False

    return [
        Loop(mapping.step, idle=0.05),
        Loop(delivery.step, idle=1.0),
        Loop(retention.step, idle=600.0),
        Loop(keep, idle=DAY),
    ]


def _greet(server: Any, token: str, port: int) -> None:
    """Ask for one recommendation over HTTP, and print the answer and the command."""
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    url = f"http://127.0.0.1:{port}/v1/recommendations"
    body = '{"user_id": "u00001", "limit": 5, "context": {"device": "tv"}}'
    asked = urllib.request.Request(
        url,
        body.encode(),
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found = orjson.loads(answer.read())
    print(f"\nFor viewer {found['user_id']}, by {found['model_version']}:")
    for item in found["items"]:
        # What a campaign promotes was not ranked.
        score = f"{item['score']:6.2f}" if item["score"] is not None else f"{'–':>6}"
        print(f"  {score}  {item['title'][:48]:<48}  {item['reason'] or ''}")
    print(
        f"\nAsk yourself:\n\ncurl -s {url} \\\n  -H 'authorization: Bearer {token}' \\\n"
        f"  -H 'content-type: application/json' \\\n  -d '{body}'\n\n"
        f"Documentation: http://127.0.0.1:{port}/docs    Ctrl-C stops.",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--state", type=Path, default=Path(".state"), help="the state folder")
    parser.add_argument("--size", choices=sorted(SIZES), default="default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-serve", action="store_true", help="stop after training")
    parser.add_argument("--train", action="store_true", help="train even if a bundle serves")
    parser.add_argument(
        "--settings", type=json_file, metavar="FILE", help="JSON with the training's configuration"
    )
    parser.add_argument("--log", action="store_true", help="log every request")
    return parser.parse_args()


if __name__ == "__main__":
    main()
