"""Changes of the catalogue as version 0.1 noted them: by the hour, without numbers.

Nothing writes such rows any more, and they expire after 35 days. Bundles of that time need them.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from vireo.ports import Item, Records, Table, walk

HOUR = 3600.0
#: Seconds that readers look back, because writers' clocks differ and writes may appear late.
OVERLAP = 60.0
#: Lifetime of a row in seconds.
KEPT = 35 * 86400.0
#: Fields that are not the video's.
_VECTOR = {"text", "embedder_id"}


class Earlier:
    """The changes of a watermark and later, each returned once and in order."""

    def __init__(self, records: Records, watermark: float) -> None:
        self._records = records
        self._since = watermark
        self._latest: dict[str, tuple[str, int]] = {}

    def lost(self, now: float) -> bool:
        """True if changes that were not read yet may have expired."""
        return self._since - OVERLAP < now - KEPT

    def poll(self, now: float) -> Iterator[tuple[str, float, Item]]:
        """The changes since the last poll: video, unix seconds, item."""
        start = self._since - OVERLAP
        for hour in range(int(start // HOUR), int((now + OVERLAP) // HOUR) + 1):
            after = f"{int(start * 1000):013d}"
            for record in walk(self._records, Table.OVERLAY, str(hour), after=after):
                # Two changes in the same millisecond share a row; its version tells them apart.
                seen = record.sort, record.version
                milliseconds, _, video_id = record.sort.partition("#")
                if seen > self._latest.get(video_id, ("", 0)):
                    self._latest[video_id] = seen
                    yield video_id, int(milliseconds) / 1000, _now(record.item)
        self._since = max(self._since, now)


def _now(item: Item) -> Item:
    """The item of a change as it is written now: the video is JSON, beside its text's vector."""
    beside = {name: item[name] for name in ("video_id", "text", "embedder_id") if name in item}
    return beside | {"video": orjson.dumps({k: item[k] for k in item.keys() - _VECTOR})}
