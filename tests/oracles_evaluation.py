"""Slow, obvious versions of the evaluation code, and a small random log to compare them on."""

from __future__ import annotations

from math import log2

import numpy as np

from vireo.catalogue.columns import Vocabulary, encode
from vireo.catalogue.models import Video
from vireo.training.data.log import Log, People


def make_log(users: list[int], videos: list[int], times: list[float], n_videos: int) -> Log:
    """A log of (user, video, time) in the order given, first occurrences in order of time only."""
    columns = encode(
        [Video(video_id=f"v{j}", title=f"video {j}") for j in range(n_videos)], Vocabulary()
    )
    seen: set[tuple[int, int]] = set()
    kept = []
    for j in sorted(range(len(users)), key=lambda j: times[j]):
        if (users[j], videos[j]) not in seen:
            seen.add((users[j], videos[j]))
            kept.append(j)
    n_users = max(users, default=-1) + 1
    nothing = np.zeros(n_users, np.int16)
    return Log(
        user=np.array([users[j] for j in kept], np.int32),
        video=np.array([videos[j] for j in kept], np.int32),
        time=np.array([times[j] for j in kept], np.float64),
        device=np.zeros(len(kept), np.int8),
        weight=np.ones(len(kept), np.float32),
        place=np.full(len(kept), -1, np.int32),
        people=People(
            np.array([f"u{j:05d}".encode() for j in range(n_users)]), nothing - 1, nothing, nothing
        ),
        videos=columns,
        text=np.zeros((n_videos, 512), np.float32),
        vocabulary=Vocabulary(),
    )


def random_log(seed: int, n: int = 400, n_users: int = 12, n_videos: int = 40) -> Log:
    """Random events with bursts of equal times, as forms and batch imports make them."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, n).tolist()
    videos = (rng.random(n) ** 2 * n_videos).astype(int).tolist()
    times = (1e9 + rng.integers(0, 200, n) * rng.choice([1.0, 3600.0], n)).tolist()
    return make_log(users, videos, times, n_videos)


def temporal(log: Log, cut: float) -> dict[int, tuple[list[int], list[int], set[int]]]:
    """Viewer to (history, seen in train, test items), as the outside scorer cuts a log."""
    n = len(log)
    first, second = int(n * cut), int(n * (cut + (1 - cut) / 2) + 1e-9)
    answer = {}
    for user in range(log.n_users):
        mine = [j for j in range(n) if log.user[j] == user]
        train = [int(log.video[j]) for j in mine if j < first]
        history = [int(log.video[j]) for j in mine if j < second]
        test = {int(log.video[j]) for j in mine if j >= second}
        if train and test:
            answer[user] = (history, train, test)
    return answer


def recall(shown: list[int], relevant: set[int], k: int) -> float:
    return len(set(shown[:k]) & relevant) / len(relevant)


def ndcg(shown: list[int], relevant: set[int], k: int) -> float:
    gain = sum(1 / log2(place + 2) for place, v in enumerate(shown[:k]) if v in relevant)
    return gain / sum(1 / log2(place + 2) for place in range(min(k, len(relevant))))


def auc(scores: list[float], relevant: list[bool]) -> float:
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, good in zip(scores, relevant, strict=True)
        if good
        for b, also in zip(scores, relevant, strict=True)
        if not also
    ]
    return sum(pairs) / len(pairs) if pairs else float("nan")
