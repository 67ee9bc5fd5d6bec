"""Import a data set (ours, MovieLens, KuaiRand): bad rows are reported by line and reason."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from vireo.homes.local import LocalHome
from vireo.ports import Missing
from vireo.training import collected, dataset, formats
from vireo.training.lines import DatasetError


class Progress:
    """One line that counts up on a terminal; in a log, a line every few seconds."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int | None = None) -> None:
        """``done`` rows of ``what``, of ``total`` if that is known."""
        now = time.monotonic()
        if now - self._shown < (0.2 if self._terminal else 5.0) and done != total:
            return
        self._shown = now
        text = f"{what}: {done:,}" + (f" of {total:,}" if total is not None else "")
        print(f"\r\033[K{text}" if self._terminal else text, end="", file=sys.stderr, flush=True)
        if not self._terminal or done == total:
            print(file=sys.stderr)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder to read")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write our format there")
    parser.add_argument("--out-format", choices=("parquet", "csv", "csv.gz"), default="parquet")
    parser.add_argument("--home", type=Path, metavar="STATE", help="put it into a laptop's state")
    parser.add_argument(
        "--environment", choices=("dev", "staging", "prod"), help="put it into a deployed one"
    )
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--format", choices=("auto", *formats.FORMATS), default="auto")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip", help="what a bad row does"
    )
    args = parser.parse_args(arguments)
    if args.out is None and args.home is None and args.environment is None:
        parser.error("--out, --home or --environment is needed")
    return args


def summary(data: dataset.Dataset) -> str:
    """Rows read, kept and rejected, by file and reason."""
    bad = sum(1 for _ in data.rejected)
    lines = [f"{name}: {rows:,} rows read" for name, rows in data.read.items()]
    lines.append(
        f"kept {data.events.num_rows:,} events, {len(data.videos):,} videos, "
        f"{len(data.users):,} users; rejected {bad:,} rows"
    )
    lines += [f"  {count:,} × {file}: {reason}" for file, reason, count in data.reasons()[:20]]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Read, write, and say what was kept; 1 when the source cannot be read, or stopped."""
    args = parse(arguments)
    progress = Progress()
    try:
        data = formats.read(args.source, args.format, args.on_error, progress)
        print(summary(data))
        if args.out is not None:
            dataset.write(data, args.out, f".{args.out_format}")
            dataset.write_rejected(data.rejected, args.out / "rejected.csv")
            print(f"written to {args.out}")
        if args.home is not None:
            home = LocalHome(args.home)
            collected.into_home(data, home.open(args.tenant), progress)
            home.close()
            print(f"put into {args.home} for tenant {args.tenant!r}")
        if args.environment is not None:
            # Imported when needed: boto3 takes its time.
            from vireo.homes.deployed import deployed  # noqa: PLC0415

            with deployed(args.environment) as there:
                collected.into_home(data, there.open(args.tenant), progress)
            print(f"put into {args.environment} for tenant {args.tenant!r}")
    except (DatasetError, Missing) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
