"""Shows dead letters, and sends those back to the stream that can be processed now.

Without an option it only shows them, by reason. A letter that is sent again is removed once the
stream has accepted it; if its record still fails, it returns as a new letter.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

from vireo.homes.chosen import add_options, chosen
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Ports


def main(arguments: list[str] | None = None) -> None:
    """Show letters, send them again, or delete them."""
    options = _options(arguments)
    with chosen(options) as home:
        ports = home.open(options.tenant)
        if options.again or options.drop:
            done, kept = settle(ports, options.reason, send=options.again)
            print(f"{done} {'sent again' if options.again else 'thrown away'}, {kept} kept")
        else:
            show(ports, options.reason, options.limit)


def letters_of(ports: Ports, reason: str) -> Iterator[tuple[str, Arrival, str]]:
    """The letters whose reason contains a text."""
    return (letter for letter in DeadLetters(ports.blobs).all() if reason in letter[2])


def show(ports: Ports, reason: str, limit: int) -> None:
    """Print the first letters, and the number of letters by reason."""
    reasons: Counter[str] = Counter()
    for name, arrival, why in letters_of(ports, reason):
        reasons[why] += 1
        if reasons.total() <= limit:
            print(f"{name}\n  {why}\n  {arrival.key}: {arrival.payload[:500]!r}")
    for why, count in reasons.most_common():
        print(f"{count:8,}  {why}")
    print(f"{reasons.total():8,}  in all")


def settle(ports: Ports, reason: str, *, send: bool) -> tuple[int, int]:
    """Send letters again, or delete them. Returns the number of letters done, and of those kept."""
    letters = DeadLetters(ports.blobs)
    done = kept = 0
    for name, arrival, _ in list(letters_of(ports, reason)):
        if send and ports.stream.publish([(arrival.key, arrival.payload)])[0] is not None:
            kept += 1
            continue
        letters.remove(name)
        done += 1
    return done, kept


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--reason", default="", help="only those whose reason contains this")
    parser.add_argument("--limit", type=int, default=20, help="letters to show in full")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--again", action="store_true", help="send them back to the stream")
    what.add_argument("--drop", action="store_true", help="delete them")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
