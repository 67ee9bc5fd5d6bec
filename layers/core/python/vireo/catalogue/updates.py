"""The changes of the catalogue since a bundle: written with each of them, polled by readers."""

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
#: Clocks of writers differ, and a write may be seen late: readers look that far back again.
OVERLAP = 60.0
#: Changes are kept so long; a bundle older than that has lost some, and must be replaced.
KEPT = 35 * 86400.0
#: Partitions of the catalogue, so that it can be listed.
SHARDS = 64


def shard(video_id: str) -> str:
    """The partition of the catalogue that a video is listed in."""
    return f"s{key_of(video_id) % SHARDS:02d}"


def writes(video: Video, now: float) -> list[Put]:
    """The two rows of a changed video; they are written together or not at all."""
    item = video.model_dump(mode="json")
    sketch = text.embed(text.describe(video.title, video.tags)).astype(np.float16)
    # The text's vector comes with it, so that no reader has to embed what is new.
    change = item | {"text": sketch.tobytes(), "embedder_id": text.EMBEDDER_ID}
    return [Put(Table.VIDEOS, shard(video.video_id), video.video_id, item), entry(change, now)]


def entry(change: dict[str, Any], now: float) -> Put:
    """The row of OVERLAY that tells readers of a change."""
    sort = f"{int(now * 1000):013d}#{change['video_id']}"
    return Put(Table.OVERLAY, str(int(now // HOUR)), sort, change, expires=now + KEPT)


class Updates:
    """What one process has seen of the changes since a moment."""

    def __init__(self, records: Records, since: float) -> None:
        self._records = records
        self._since = since
        self._latest: dict[str, tuple[str, int]] = {}
        self.news = 0  #: how many changes were taken in
        self.videos: dict[str, Video] = {}
        self.texts: dict[str, NDArray[np.float32]] = {}

    def poll(self, now: float) -> None:
        """Take in what came since the last poll. Repeats change nothing."""
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
        # Two changes of one millisecond share a row; its version tells them apart.
        if (record.sort, record.version) <= self._latest.get(video_id, ("", 0)):
            return
        self._latest[video_id] = record.sort, record.version
        sketch, embedder = item.pop("text", None), item.pop("embedder_id", None)
        self.videos[video_id] = Video.model_validate(item)
        self.texts.pop(video_id, None)
        if embedder == text.EMBEDDER_ID:
            self.texts[video_id] = np.frombuffer(sketch, np.float16).astype(np.float32)
        self.news += 1
