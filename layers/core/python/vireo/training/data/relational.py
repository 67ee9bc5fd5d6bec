"""The relational part of preprocessing, as Ibis expressions for DuckDB, Athena, Trino or Spark.

Every result is in one total order (time, sequence, event id), so it depends neither on the engine
nor on the order of the input's rows.
"""

from __future__ import annotations

from typing import Any

import ibis
from ibis import _

from vireo.events.models import LATEST, LONGEST
from vireo.training.data.event_table import TYPES

#: The total order of events.
ORDER = ("timestamp", "sequence", "event_id")


def judged(events: Any, videos: Any, *, now: float, tolerance: float) -> Any:
    """Every event with a column ``problem``: the reason to leave it out, or "".

    Args:
        events: a table of `event_table.SCHEMA`, with rows that may violate it.
        videos: the ids of the catalogue: one column, ``video_id``.
        now: unix seconds.
        tolerance: seconds; later events are attributed to a wrong clock.
    """
    rows = events.mutate(sequence=ibis.coalesce(_.sequence, 0))
    well_formed = ibis.coalesce(
        (_.event_id != "")
        & (_.user_id != "")
        & (_.video_id != "")
        & _.type.isin(TYPES)
        & (_.timestamp >= 0)
        & (_.timestamp < LATEST)
        # NaN is above every number in some engines and below in others; here it is malformed.
        & ibis.coalesce(_.watch_fraction, 0.0).between(0, 1)
        & ibis.coalesce(_.watch_seconds, 0.0).between(0, LONGEST),
        False,
    )
    known = videos.select("video_id").distinct().mutate(known=True)
    rows = rows.mutate(well_formed=well_formed, late=_.timestamp > now + tolerance)
    rows = rows.left_join(known, "video_id").drop("video_id_right")
    # Of repeats with different content, every engine must keep the same one.
    same = ibis.window(
        group_by=["event_id", "well_formed", "late"],
        order_by=["timestamp", "sequence", "user_id", "video_id", "type"],
    )
    return rows.mutate(again=ibis.row_number().over(same)).mutate(
        problem=ibis.cases(
            (~_.well_formed, "malformed"),
            (_.late, "in the future"),
            (_.again > 0, "repeated"),
            (_.known.isnull(), "video not in the catalogue"),
            else_="",
        )
    )


def summary(rows: Any) -> Any:
    """(problem, type, number) of `judged` events."""
    return rows.group_by(["problem", "type"]).agg(n=_.count()).order_by(["problem", "type"])


def activity(rows: Any) -> Any:
    """The events without a problem, in order."""
    return (
        rows.filter(_.problem == "")
        .order_by(list(ORDER))
        .mutate(recommended=ibis.coalesce(_.request_id, "") != "")
        .select(
            "user_id",
            "video_id",
            "type",
            "timestamp",
            "watch_seconds",
            "watch_fraction",
            "position",
            "recommended",
        )
    )


def positives(rows: Any, *, fraction: float, seconds: float, clicks: bool) -> Any:
    """The interactions: the first positive event of each (viewer, video), in order.

    A watch is positive if it lasted for ``fraction`` of the video or for ``seconds``, or if its
    length is unknown. A like, a comment and a share always are; a click only with ``clicks``, for
    logs without watches. An impression, a skip and a dislike never are.
    """
    long_enough = (
        (ibis.coalesce(_.watch_fraction, 0.0) >= fraction)
        | (ibis.coalesce(_.watch_seconds, 0.0) >= seconds)
        | (_.watch_fraction.isnull() & _.watch_seconds.isnull())
    )
    explicit = ("like", "comment", "share", "click") if clicks else ("like", "comment", "share")
    wanted = ((_.type == "watch") & long_enough) | _.type.isin(explicit)
    pair = ibis.window(group_by=["user_id", "video_id"], order_by=list(ORDER))
    return (
        rows.filter(_.problem == "")
        .filter(wanted)
        .mutate(nth=ibis.row_number().over(pair))
        .filter(_.nth == 0)
        .order_by(list(ORDER))
        .select("user_id", "video_id", "type", "timestamp", "device", "country", "position")
    )
