"""Makes ``ml-1m-half``, on which the README's figures were taken: MovieLens-1M's first ratings."""

from __future__ import annotations

import argparse
import shutil
from itertools import islice
from pathlib import Path

from vireo.jobs.lines import open_text

#: ``ratings.dat`` is in order of user: these are all of 2,998 users and some of the next.
RATINGS = 487_650
#: MovieLens-1M is in Latin-1; the bytes are copied as they are.
ENCODING = "latin-1"


def main(arguments: list[str] | None = None) -> None:
    """Copy the folder, and of ``ratings.dat`` the first lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder of MovieLens-1M as it is published")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--ratings", type=int, default=RATINGS, metavar="N")
    options = parser.parse_args(arguments)
    ratings = options.source / "ratings.dat"
    if not ratings.is_file():
        raise SystemExit(f"There is no {ratings}.")
    with open_text(ratings, ENCODING) as lines:
        kept = list(islice(lines, options.ratings))
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("users.dat", "movies.dat"):
        shutil.copyfile(options.source / name, options.out / name)
    (options.out / "ratings.dat").write_text("".join(kept), ENCODING, newline="")
    users = len({line.partition("::")[0] for line in kept})
    print(f"{len(kept):,} ratings of {users:,} users in {options.out}")


if __name__ == "__main__":
    main()
