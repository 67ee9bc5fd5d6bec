"""Import a data set (ours, MovieLens, KuaiRand); bad rows are reported by line and reason."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vireo.homes.chosen import add_tenant, opened
from vireo.jobs.lines import DatasetError
from vireo.jobs.terminal import Terminal
from vireo.ports import Home, Missing
from vireo.training.data import collected, dataset, formats


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder to read")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write our format there")
    parser.add_argument("--out-format", choices=("parquet", "csv", "csv.gz"), default="parquet")
    parser.add_argument("--home", type=Path, metavar="STATE", help="store it in a laptop's state")
    parser.add_argument(
        "--environment", choices=("dev", "staging", "prod"), help="store it in an environment"
    )
    add_tenant(parser)
    parser.add_argument("--format", choices=("auto", *formats.FORMATS), default="auto")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip", help="what to do with bad rows"
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
    """Read, write, and print a summary; returns 1 if the source is unreadable, or on a bad row."""
    args = parse(arguments)
    try:
        with Terminal() as terminal:
            data = formats.read(args.source, args.format, args.on_error, terminal.task("reading"))
        print(summary(data))
        if args.out is not None:
            try:
                dataset.write(data, args.out, f".{args.out_format}")
                dataset.write_rejected(data.rejected, args.out / "rejected.csv")
            except OSError as error:
                raise SystemExit(f"{args.out} cannot be written to: {error.strerror}") from None
            print(f"written to {args.out}")
        if args.home is not None:
            home = opened(args.home)
            _put(data, home, args.tenant)
            home.close()
            print(f"put into {args.home} for tenant {args.tenant!r}")
        if args.environment is not None:
            # Imported only when needed, because boto3 loads slowly.
            from vireo.homes.deployed import deployed  # noqa: PLC0415

            with deployed(args.environment) as there:
                _put(data, there, args.tenant)
            print(f"put into {args.environment} for tenant {args.tenant!r}")
    except (DatasetError, Missing) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _put(data: dataset.Dataset, home: Home, tenant: str) -> None:
    with Terminal() as terminal:
        collected.into_home(data, home.open(tenant), terminal.task("storing"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
