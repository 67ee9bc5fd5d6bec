"""Exports a person's data into a folder: what the API exports, and their events in collected files.

It writes ``person.json``, documented as GET /v1/users/{user_id}/export is, and ``collected.jsonl``,
an event or exposure a line, with the columns of docs/events.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import orjson

from vireo.catalogue.store import Catalogue
from vireo.homes.chosen import add_options, chosen
from vireo.jobs.terminal import Terminal
from vireo.keys import Keys
from vireo.ports import Missing, Ports
from vireo.recommender import export
from vireo.training.data import person

#: Something that this command leaves out, and why.
WITHOUT = (
    "counts of campaigns, which no command reaches; the API exports them",
    "events of the last seven days on the stream, which become collected files",
)


def main(arguments: list[str] | None = None) -> None:
    """Export, and say how much there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("user", help="the person's id")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        with chosen(options) as home:
            options.into.mkdir(mode=0o700, parents=True)
            print(exported(home.open(options.tenant), options.user, options.into))
    except FileExistsError:
        raise SystemExit(f"{options.into} is there already; name a new folder") from None
    except Missing as error:
        raise SystemExit(str(error)) from None


def exported(ports: Ports, user_id: str, folder: Path) -> str:
    """Write both files; returns a sentence about them."""
    found, rows = person.Found(), 0
    with Terminal() as terminal, (folder / "collected.jsonl").open("wb") as file:
        reading = terminal.task("collected")
        for row in person.collected(ports.blobs, user_id, found, reading):
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            rows += 1
    try:
        kept = _kept(ports, user_id)
    except export.UnknownPerson:
        kept = {"user_id": user_id, "rows": 0, "without": WITHOUT, "unreadable": []}
    kept["unreadable"] += [{"where": name, "why": "no Parquet file"} for name in found.unreadable]
    (folder / "person.json").write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    letters = len(kept.get("dead_letters", ()))
    return (
        f"{folder}: {kept['rows']} rows, {letters} dead letters,"
        f" {rows:,} events in {found.files:,} files; {len(kept['unreadable'])} could not be read"
    )


def _kept(ports: Ports, user_id: str) -> dict[str, Any]:
    """All answers of the export as one."""
    catalogue = Catalogue(ports)

    def names(keys: Keys) -> list[str | None]:
        known = catalogue.ids(keys.tolist())
        return [known.get(key) for key in keys.tolist()]

    answers = [export.export(ports, user_id, names)]
    while (start := answers[-1].next) is not None:
        answers.append(export.export(ports, user_id, names, start))
    whole = answers[0].model_dump(mode="json")
    for more in answers[1:]:
        for part in ("watched", "dead_letters"):
            whole[part] += more.model_dump(mode="json")[part]
    seen = {(u.where, u.why): u.model_dump() for answer in answers for u in answer.unreadable}
    return whole | {"next": None, "unreadable": [*seen.values()], "without": WITHOUT}


if __name__ == "__main__":
    main()
