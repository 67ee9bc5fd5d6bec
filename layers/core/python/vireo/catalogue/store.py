"""The catalogue's operations: every change is stored together with its notice to readers."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from pydantic import ValidationError

from vireo.catalogue import updates
from vireo.catalogue.models import Video, VideoBody
from vireo.keys import key_of
from vireo.ports import Item, Ports, Table, walk

log = logging.getLogger(__name__)

#: Videos of a batch in one shard from which on the shard is read whole, and not video by video.
_WHOLE_SHARD = 200


class UnknownVideo(LookupError):
    """There is no video with that id."""


class Catalogue:
    """The videos of one tenant. Changes reach recommendations within 30 seconds."""

    def __init__(self, ports: Ports) -> None:
        self._records = ports.records
        self._clock = ports.clock
        self._meter = ports.meter

    def put(self, video_id: str, body: VideoBody) -> Video:
        """Store a video, or replace it."""
        video = Video(video_id=video_id, **body.model_dump())
        self.put_all([video])
        return video

    def put_all(
        self, videos: Sequence[Video], progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Store many videos, 49 in one atomic write. It may be repeated after a failure.

        What is stored already, just so, is no news. ``progress`` is called with the number stored
        so far and the total.
        """
        last = {video.video_id: video for video in videos}
        known, kept = list(last.values()), self._kept(last)
        for start in range(0, len(known), updates.TOGETHER):
            part = known[start : start + updates.TOGETHER]
            changes = [updates.stored(v) for v in part if v.video_id not in kept]
            if changes:
                updates.write(self._records, changes, self._clock.now())
            if progress is not None:
                progress(start + len(part), len(known))
        return len(videos)

    def _kept(self, videos: dict[str, Video]) -> set[str]:
        """The ids of videos that are stored as they are given."""
        shards = defaultdict(set)
        for video_id in videos:
            shards[updates.shard(video_id)].add(video_id)
        found: set[str] = set()
        for shard, ids in shards.items():
            for video_id, item in self._stored(shard, ids):
                if item == videos[video_id].model_dump(mode="json"):
                    found.add(video_id)
        return found

    def _stored(self, shard: str, ids: set[str]) -> Iterator[tuple[str, Item]]:
        if len(ids) >= _WHOLE_SHARD:
            for record in walk(self._records, Table.VIDEOS, shard):
                if record.sort in ids:
                    yield record.sort, record.item
            return
        for video_id in ids:
            if (one := self._records.get(Table.VIDEOS, shard, video_id)) is not None:
                yield video_id, one.item

    def all(self) -> Iterator[Video]:
        """All videos, by shard and id, but for those whose row cannot be read."""
        for shard in range(updates.SHARDS):
            for record in walk(self._records, Table.VIDEOS, f"s{shard:02d}"):
                try:
                    yield Video.model_validate(record.item)
                except ValidationError:
                    log.exception("the row of video %s cannot be read", record.sort)
                    self._meter.count("VideoRefused")

    def ids(self, keys: Iterable[int]) -> dict[int, str]:
        """The ids of the videos of those keys, as far as there are any; reads their shards."""
        wanted, found = set(keys), dict[int, str]()
        for shard in sorted({updates.shard_of(key) for key in wanted}):
            for record in walk(self._records, Table.VIDEOS, shard):
                if (key := key_of(record.sort)) in wanted:
                    found[key] = record.sort
        return found

    def get(self, video_id: str) -> Video:
        """A stored video. Raises `UnknownVideo`, also if its row cannot be read."""
        found = self._records.get(Table.VIDEOS, updates.shard(video_id), video_id)
        if found is None:
            raise UnknownVideo(video_id)
        try:
            return Video.model_validate(found.item)
        except ValidationError as error:
            log.exception("the row of video %s cannot be read", video_id)
            self._meter.count("VideoRefused")
            raise UnknownVideo(f"{video_id}: what is stored cannot be read") from error

    def delete(self, video_id: str) -> None:
        """Remove a video from the catalogue and from all answers. Raises `UnknownVideo`."""
        if self._records.get(Table.VIDEOS, updates.shard(video_id), video_id) is None:
            raise UnknownVideo(video_id)
        updates.write(self._records, [updates.removed(video_id)], self._clock.now())
