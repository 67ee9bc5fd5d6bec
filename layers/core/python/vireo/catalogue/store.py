"""The catalogue's operations: every change is stored together with its notice to readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vireo.catalogue import updates
from vireo.catalogue.models import Status, Video, VideoBody
from vireo.ports import Delete, Ports, Table, walk

#: Videos in one atomic write, which takes 100 rows: two for each video.
_TOGETHER = 50


class UnknownVideo(LookupError):
    """There is no video with that id."""


class Catalogue:
    """The videos of one tenant. Changes reach recommendations within 30 seconds."""

    def __init__(self, ports: Ports) -> None:
        self._records = ports.records
        self._clock = ports.clock

    def put(self, video_id: str, body: VideoBody) -> Video:
        """Store a video, or replace it."""
        video = Video(video_id=video_id, **body.model_dump())
        self._records.write(updates.writes(video, self._clock.now()))
        return video

    def put_all(
        self, videos: Sequence[Video], progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Store many videos, fifty in one atomic write. It may be repeated after a failure.

        ``progress`` is called with the number stored so far and the total.
        """
        now = self._clock.now()
        for start in range(0, len(videos), _TOGETHER):
            part = videos[start : start + _TOGETHER]
            self._records.write([write for v in part for write in updates.writes(v, now)])
            if progress is not None:
                progress(start + len(part), len(videos))
        return len(videos)

    def all(self) -> Iterator[Video]:
        """All videos, by shard and id."""
        for shard in range(updates.SHARDS):
            for record in walk(self._records, Table.VIDEOS, f"s{shard:02d}"):
                yield Video.model_validate(record.item)

    def get(self, video_id: str) -> Video:
        """A stored video. Raises `UnknownVideo`."""
        found = self._records.get(Table.VIDEOS, updates.shard(video_id), video_id)
        if found is None:
            raise UnknownVideo(video_id)
        return Video.model_validate(found.item)

    def delete(self, video_id: str) -> None:
        """Remove a video from the catalogue and from all answers. Raises `UnknownVideo`."""
        gone = self.get(video_id).model_copy(update={"status": Status.DELETED})
        news = updates.entry(gone.model_dump(mode="json"), self._clock.now())
        self._records.write([Delete(Table.VIDEOS, updates.shard(video_id), video_id), news])
