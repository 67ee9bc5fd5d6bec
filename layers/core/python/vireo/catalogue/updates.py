"""Notices of changed videos, written with each change and polled by serving processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo import text
from vireo.catalogue.models import Video
from vireo.keys import key_of
from vireo.ports import Put, Record, Records, Table, walk

HOUR = 3600.0
#: Seconds that readers look back, because writers' clocks differ and writes may appear late.
OVERLAP = 60.0
#: Lifetime of a notice in seconds; an older bundle misses changes and must be replaced.
KEPT = 35 * 86400.0
#: Number of partitions of the catalogue, by which it is listed.
SHARDS = 64


def shard(video_id: str) -> str:
    """The partition of the catalogue in which a video is listed."""
    return f"s{key_of(video_id) % SHARDS:02d}"


def writes(video: Video, now: float) -> list[Put]:
    """The two rows of a changed video, to be written atomically."""
    item = video.model_dump(mode="json")
    sketch = text.embed(text.describe(video.title, video.tags)).astype(np.float16)
    # The notice carries the text's vector, so that readers need not embed new videos.
    change = item | {"text": sketch.tobytes(), "embedder_id": text.EMBEDDER_ID}
    return [Put(Table.VIDEOS, shard(video.video_id), video.video_id, item), entry(change, now)]


def entry(change: dict[str, Any], now: float) -> Put:
    """The row of OVERLAY that notifies readers of a change."""
    sort = f"{int(now * 1000):013d}#{change['video_id']}"
    return Put(Table.OVERLAY, str(int(now // HOUR)), sort, change, expires=now + KEPT)


class Updates:
    """The changes since a moment, as seen by one process."""

    def __init__(self, records: Records, since: float) -> None:
        self._records = records
        self._since = since
        self._latest: dict[str, tuple[str, int]] = {}
        self.news = 0  #: number of changes so far
        self.videos: dict[str, Video] = {}
        self.texts: dict[str, NDArray[np.float32]] = {}

    def poll(self, now: float) -> None:
        """Read the changes since the last poll. Repeats have no effect."""
        for record in self._read(max(self._since - OVERLAP, now - KEPT), now):
            self._take(record)
        self._since = max(self._since, now)

    def _read(self, start: float, now: float) -> Iterator[Record]:
        for hour in range(int(start // HOUR), int((now + OVERLAP) // HOUR) + 1):
            after = f"{int(start * 1000):013d}"
            yield from walk(self._records, Table.OVERLAY, str(hour), after=after)

    def _take(self, record: Record) -> None:
        item = dict(record.item)
        video_id = item["video_id"]
        # Two changes in the same millisecond share a row; its version tells them apart.
        if (record.sort, record.version) <= self._latest.get(video_id, ("", 0)):
            return
        self._latest[video_id] = record.sort, record.version
        sketch, embedder = item.pop("text", None), item.pop("embedder_id", None)
        self.videos[video_id] = Video.model_validate(item)
        self.texts.pop(video_id, None)
        if embedder == text.EMBEDDER_ID:
            self.texts[video_id] = np.frombuffer(sketch, np.float16).astype(np.float32)
        self.news += 1
