"""The log of the catalogue: every change has a number, and readers follow the numbers.

No clock has a say in which changes a reader sees, or in which order. The row `HEAD` holds the
latest number. Whoever changes videos writes it, the videos and their changes in one transaction,
on the condition that nobody else did in between; so numbers have no gaps, and their order is that
in which the catalogue changed. See docs/decisions/0020-changes-have-numbers.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vireo import text
from vireo.catalogue.earlier import Earlier
from vireo.catalogue.models import Status, Video
from vireo.keys import key_of
from vireo.ports import Conflict, Delete, Item, Put, Record, Records, Table, Unavailable, walk

log = logging.getLogger(__name__)

#: Number of partitions of the catalogue, by which it is listed.
SHARDS = 64
#: The partition of OVERLAY that holds the changes, and the sort key of the row that counts them.
KEY, HEAD = "changes", ""
#: Videos in one transaction, which takes 100 rows: two for each video, and the head.
TOGETHER = 49
#: Attempts at a transaction. Each one that fails means that another writer's did not.
_TRIES = 200


class ChangesLost(Exception):
    """Changes that a reader still needs are not kept any more."""


class Mark(NamedTuple):
    """The latest change that a bundle or a reader knows."""

    number: int = 0
    at: float = 0.0  #: unix seconds, by the writer's clock; tells a number from one used anew


def shard(video_id: str) -> str:
    """The partition of the catalogue in which a video is listed."""
    return f"s{key_of(video_id) % SHARDS:02d}"


def row(number: int) -> str:
    """The sort key of a change."""
    return f"{number:015d}"


def latest(records: Records) -> Mark:
    """The latest change. A catalogue that is read afterwards includes it."""
    return _head(records)[0]


def stored(video: Video) -> tuple[Put, Item]:
    """The row of a new or changed video, and its change."""
    item = video.model_dump(mode="json")
    sketch = text.embed(text.describe(video.title, video.tags)).astype(np.float16)
    # The change carries the text's vector, so that readers need not embed new videos; and the video
    # as JSON, which takes a third of the time to validate that fields of the item would take.
    change: Item = {
        "video_id": video.video_id,
        "video": video.model_dump_json().encode(),
        "text": sketch.tobytes(),
        "embedder_id": text.EMBEDDER_ID,
    }
    return Put(Table.VIDEOS, shard(video.video_id), video.video_id, item), change


def removed(video_id: str) -> tuple[Delete, Item]:
    """The removal of a video's row, and its change."""
    gone: Item = {"video_id": video_id, "video": b""}
    return Delete(Table.VIDEOS, shard(video_id), video_id), gone


def write(records: Records, changes: Sequence[tuple[Put | Delete, Item]], now: float) -> None:
    """Write at most `TOGETHER` changed videos and their changes, all or none.

    Raises:
        Unavailable: other writers were faster, every time.
    """
    for _ in range(_TRIES):
        (last, _), version = _head(records)
        writes: list[Put | Delete] = [
            Put(
                Table.OVERLAY,
                KEY,
                HEAD,
                {"number": last + len(changes), "at": now},
                expect=version,
            )
        ]
        for number, (video, change) in enumerate(changes, last + 1):
            writes += [video, Put(Table.OVERLAY, KEY, row(number), change | {"at": now})]
        try:
            records.write(writes)
        except Conflict:  # another writer's numbers
            continue
        return
    raise Unavailable("the catalogue changes too fast")


def _head(records: Records) -> tuple[Mark, int]:
    """The latest change, and the version of the row that counts them (0: there is none)."""
    head = records.get(Table.OVERLAY, KEY, HEAD)
    if head is None:
        return Mark(), 0
    if "number" in head.item:
        return Mark(head.item["number"], head.item["at"]), head.version
    log.error("the row that counts the changes cannot be read; they are counted again")
    last = Mark()
    for record in walk(records, Table.OVERLAY, KEY, after=row(0)):
        last = Mark(int(record.sort), _at(record))
    return last, head.version


class Updates:
    """The changes since a bundle, as seen by one process."""

    def __init__(self, records: Records, since: Mark | None, watermark: float = 0.0) -> None:
        """Follow the changes after ``since``.

        Args:
            records: of the tenant.
            since: the latest change that is known; None for a bundle of a version without numbers.
            watermark: only for these, unix seconds: the bundle includes what changed before.
        """
        self._records = records
        self._seen = since or Mark()
        self._earlier = Earlier(records, watermark) if since is None else None
        self._numbered: dict[str, float] = {}  #: unix seconds of the last change
        self.news = 0  #: number of changes so far
        self.refused = 0  #: number of changes so far that could not be read
        self.videos: dict[str, Video] = {}
        self.texts: dict[str, NDArray[np.float16]] = {}

    def poll(self, now: float) -> None:
        """Read the changes since the last poll. ``now`` matters for bundles without numbers only.

        Raises:
            ChangesLost: some of them are not kept any more.
        """
        if self._earlier is not None and self._earlier.lost(now):
            raise ChangesLost(
                "changes without numbers, which this bundle of version 0.1 needs, have expired"
            )
        for record in self._since():
            self._take(record.item)
            self._seen = Mark(int(record.sort), _at(record))
            if self._earlier is not None:
                self._numbered[str(record.item.get("video_id"))] = self._seen.at
        if self._earlier is not None:
            for video_id, at, item in self._earlier.poll(now):
                if at > self._numbered.get(video_id, 0.0):
                    self._take(item)

    def _since(self) -> Iterator[Record]:
        """The rows after the last one seen, every number of them."""
        number = self._seen.number
        rows = walk(self._records, Table.OVERLAY, KEY, after=row(max(0, number - 1)))
        if number:
            # The row that was seen last is read again: it proves that this is still the same log.
            first = next(rows, None)
            if first is None or (first.sort == row(number) and _at(first) != self._seen.at):
                log.warning("the log of changes was set back; it is read from its beginning")
                self._seen = Mark()
                yield from _contiguous(walk(self._records, Table.OVERLAY, KEY, after=row(0)), None)
                return
            if first.sort != row(number):
                raise ChangesLost(
                    f"changes {number} to {int(first.sort) - 1} are not kept any more"
                )
        yield from _contiguous(rows, number + 1)

    def _take(self, item: Item) -> None:
        video_id, vector = item.get("video_id"), None
        try:
            told = item["video"]
            video = Video.model_validate_json(told) if told else _removal(item["video_id"])
            if item.get("embedder_id") == text.EMBEDDER_ID:
                vector = np.frombuffer(item["text"], np.float16)
        except (KeyError, TypeError, ValueError):
            # It may be a restriction, so the video is not shown by what was known of it.
            self.refused += 1
            log.exception("a change of the catalogue cannot be read")
            if not isinstance(video_id, str):
                return
            video = _removal(video_id)
        self.videos[video.video_id] = video
        self.texts.pop(video.video_id, None)
        if vector is not None:
            self.texts[video.video_id] = vector
        self.news += 1


def _at(record: Record) -> float:
    return float(record.item.get("at", 0.0))  # of a change that cannot be read, nothing is known


def _contiguous(rows: Iterator[Record], expected: int | None) -> Iterator[Record]:
    for record in rows:
        number = int(record.sort)
        if expected is not None and number != expected:
            raise ChangesLost(f"changes {expected} to {number - 1} are not kept any more")
        yield record
        expected = number + 1


def _removal(video_id: str) -> Video:
    # An id that was accepted once is not judged again.
    return Video.model_construct(
        {"video_id", "title", "status"}, video_id=video_id, title="removed", status=Status.DELETED
    )
