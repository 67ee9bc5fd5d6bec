"""The stream in Kinesis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vireo.homes.aws.errors import translated
from vireo.homes.limits import refusals
from vireo.ports import Refused, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


#: Kinesis' limit on one call, in bytes.
_CALL_BYTES = 5 * 1024 * 1024


class KinesisStream:
    """`vireo.ports.Stream` of one tenant; the partition key is ``tenant#key``."""

    def __init__(self, client: Callable[[], KinesisClient], tenant: str, stream: str) -> None:
        self._client = client
        self._tenant = tenant
        self._stream = stream

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """See the port."""
        reasons = refusals(records)
        for places in _calls(records, [j for j, r in enumerate(reasons) if r is None]):
            answers = self._put([records[j] for j in places])
            for j, answer in zip(places, answers, strict=True):
                reasons[j] = answer
        return reasons

    def _put(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        entries: list[Any] = [
            {"Data": payload, "PartitionKey": f"{self._tenant}#{key}"} for key, payload in records
        ]
        try:
            with translated("stream"):
                answer = self._client().put_records(StreamName=self._stream, Records=entries)
        except (Unavailable, Refused) as error:
            return [str(error)] * len(records)
        return [
            f"{a['ErrorCode']}: {a.get('ErrorMessage', '')}" if a.get("ErrorCode") else None
            for a in answer["Records"]
        ]


def _calls(records: Sequence[tuple[str, bytes]], places: Sequence[int]) -> Iterator[list[int]]:
    """Positions of records, grouped into calls of as many as Kinesis allows."""
    call: list[int] = []
    total = 0
    for j in places:
        size = len(records[j][1]) + 4 * 256  # a partition key has at most 256 characters
        if call and total + size > _CALL_BYTES:
            yield call
            call, total = [], 0
        call.append(j)
        total += size
    if call:
        yield call
