"""The record in which one process publishes what is hot, for all that serve the same bundle."""

from __future__ import annotations

import logging

from vireo.catalogue.counters import Reader
from vireo.keys import find
from vireo.ports import Conflict, Record, Records, Table
from vireo.recommender.contents import ModelBundle
from vireo.recommender.hot import Hot

log = logging.getLogger(__name__)

#: Seconds after which the process that published last publishes again, and after which another
#: one takes its place; and for which the record of a bundle is kept.
EVERY, TAKEN_OVER, KEPT = 25.0, 60.0, 2 * 86_400.0
#: Seconds that the clock of a publisher may be ahead.
AHEAD = 60.0


class HotRecord:
    """The hot videos, as seen by one process.

    The counters are large, and the same for everybody who serves a bundle. So one process reads
    them and publishes what serving needs of them; the others read that. Whoever finds that the
    record is old takes the publisher's place: it says so by writing the record, which only one of
    many can, before it reads the counters.
    """

    def __init__(self, records: Records, bundle: ModelBundle) -> None:
        self._records = records
        self._reader = Reader(records)
        self._watermark = bundle.manifest.watermark
        self._keys = bundle.columns.keys
        self._key = f"hot{Hot.FORM}#{bundle.version}"
        self._ours: int | None = None  #: version of the record, if this process wrote it
        self._refused = 0

    @property
    def refused(self) -> int:
        """Number of records that could not be read, so far."""
        return self._refused + self._reader.refused

    def poll(self, now: float) -> Hot:
        """The hot videos of now (unix seconds), or as of up to half a minute ago."""
        page = self._records.query(Table.OVERLAY, self._key, limit=1)
        found = page.records[0] if page.records else None
        published = None if found is None else self._unpacked(found)
        if found is None or published is None:
            return self._publish(now, 0 if found is None else found.version)
        age, ours = now - float(found.item["at"]), found.version == self._ours
        if -AHEAD <= age < (EVERY if ours else TAKEN_OVER):
            return published
        try:
            claimed = found.version if ours else self._write(published, now, found.version)
        except Conflict:
            return published
        return self._publish(now, claimed)

    def _publish(self, now: float, expect: int) -> Hot:
        self._reader.poll(now)
        hot = Hot.read(self._reader, self._watermark, now)
        hot = hot.of_new(find(self._keys, hot.since["video"]) < 0)
        try:
            self._ours = self._write(hot, now, expect)
        except Conflict:  # another process was faster
            self._ours = None
        return hot

    def _write(self, hot: Hot, now: float, expect: int) -> int:
        item = hot.pack() | {"at": now}
        return self._records.put(
            Table.OVERLAY, self._key, "", item, expect=expect, expires=now + KEPT
        )

    def _unpacked(self, record: Record) -> Hot | None:
        try:
            float(record.item["at"])
            return Hot.unpack(record.item)
        except (ValueError, KeyError, TypeError):
            log.exception("the record %s is not readable and is published anew", record.key)
            self._refused += 1
            return None
