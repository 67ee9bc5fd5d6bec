"""Generate a synthetic data set in the format of docs/dataset.md."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

from vireo.training import generator
from vireo.training.data import dataset


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    default = generator.Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=default.viewers)
    parser.add_argument("--videos", type=int, default=default.videos)
    parser.add_argument("--events", type=int, default=default.events, help="of all types")
    parser.add_argument("--days", type=int, default=default.days, help="length of the log")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--end",
        type=lambda text: datetime.fromisoformat(text).timestamp(),
        default=default.end,
        help="end of the log: ISO 8601 with a zone (default 2026-01-01T00:00:00+00:00)",
    )
    parser.add_argument(
        "--structure",
        choices=("full", "none"),
        default=default.structure,
        help="none: a log from which nothing can be learned",
    )
    parser.add_argument("--format", choices=("parquet", "csv", "csv.gz"), default="parquet")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Generate, write, and print a summary."""
    args = parse(arguments)
    started = time.perf_counter()
    settings = generator.Settings(
        viewers=args.viewers,
        videos=args.videos,
        events=args.events,
        seed=args.seed,
        days=args.days,
        end=args.end,
        structure=args.structure,
    )
    data = generator.generate(settings)
    try:
        dataset.write(data, args.out, f".{args.format}")
    except OSError as error:
        raise SystemExit(f"{args.out} cannot be written to: {error.strerror}") from None
    print(
        f"{args.out}: {data.events.num_rows:,} events, {len(data.videos):,} videos, "
        f"{len(data.users):,} viewers in {time.perf_counter() - started:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
