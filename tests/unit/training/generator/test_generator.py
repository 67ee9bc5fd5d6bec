"""Generated data: equal settings give equal bytes, and the structure is really there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from vireo.catalogue.models import Status
from vireo.training import generator
from vireo.training.data import dataset, preprocess
from vireo.training.data.activity import counters
from vireo.training.data.dataset import Dataset
from vireo.training.data.event_table import TYPES
from vireo.training.data.log import Log
from vireo.training.data.prepared import Prepared
from vireo.training.generator import Settings

SMALL = Settings(viewers=300, videos=1500, events=45_000, days=60, seed=3)


@pytest.fixture(scope="module")
def full() -> Dataset:
    return generator.generate(SMALL)


@pytest.fixture(scope="module")
def learnable(full: Dataset) -> Prepared:
    return preprocess.from_dataset(full, now=SMALL.end)


@pytest.fixture(scope="module")
def random() -> Prepared:
    data = generator.generate(replace(SMALL, structure="none"))
    return preprocess.from_dataset(data, now=SMALL.end)


def test_equal_settings_give_equal_bytes(full: Dataset, tmp_path: Path) -> None:
    dataset.write(full, tmp_path / "a")
    dataset.write(generator.generate(SMALL), tmp_path / "b")
    for name in ("events.parquet", "videos.parquet", "users.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = generator.generate(replace(SMALL, seed=4))
    assert not other.events.equals(full.events)


def test_what_is_generated_obeys_the_format(full: Dataset, tmp_path: Path) -> None:
    dataset.write(full, tmp_path, ".csv")
    again = dataset.read(tmp_path, on_error="stop")
    assert again.events.equals(full.events)
    assert again.videos == full.videos
    assert again.users == full.users


def test_amounts(full: Dataset, learnable: Prepared) -> None:
    assert 0.998 * SMALL.events <= full.events.num_rows <= SMALL.events
    assert len(full.videos) == SMALL.videos
    assert len(full.users) == SMALL.viewers
    assert learnable.report.dropped == {}
    assert len(learnable.log) >= 0.45 * SMALL.events
    assert set(learnable.report.types) == set(TYPES)
    assert SMALL.end - SMALL.days * 86_400 <= learnable.report.first
    assert SMALL.end - 86_400 <= learnable.report.last < SMALL.end


def views(log: Log) -> NDArray[np.int64]:
    return np.bincount(log.video, minlength=log.n_videos)


def test_popularity_has_a_long_tail(learnable: Prepared, random: Prepared) -> None:
    def top_tenth(p: Prepared) -> float:
        ordered = np.sort(views(p.log))[::-1]
        return float(ordered[: len(ordered) // 10].sum() / ordered.sum())

    assert top_tenth(learnable) > 0.35
    assert (views(learnable.log) > 0).mean() > 0.7
    assert top_tenth(random) < 0.2


def test_viewers_come_in_sessions(learnable: Prepared) -> None:
    log = learnable.log
    order, _ = log.histories()
    pause = np.diff(log.time[order])[np.diff(log.user[order]) == 0]
    assert (pause < 3600).mean() > 0.7
    assert (pause > 4 * 3600).mean() > 0.05
    # Between "in a session" and "came back" there is little.
    assert ((pause > 3600) & (pause < 2 * 3600)).mean() < 0.02
    per_viewer = np.bincount(log.user, minlength=log.n_users)
    assert np.percentile(per_viewer, 95) > 3 * np.median(per_viewer) > 0


def test_fresh_uploads_are_watched_and_nothing_before_it_is_there(
    full: Dataset, learnable: Prepared
) -> None:
    start = SMALL.end - SMALL.days * 86_400
    published = np.array([v.published_at.timestamp() for v in full.videos if v.published_at])
    assert 0.2 < (published > start).mean() < 0.4
    a, columns = learnable.activity, learnable.log.videos
    age = (a.time - columns.published[a.video]) / 86_400
    assert age.min() >= 0
    assert (age < 7).mean() > 0.08


def test_policy_and_availability_are_there_and_obeyed(full: Dataset) -> None:
    by_id = {v.video_id: v for v in full.videos}
    statuses = {s: sum(v.status is s for v in full.videos) for s in Status}
    assert all(statuses.values())
    assert any(v.countries_allowed for v in full.videos)
    assert any(v.countries_blocked for v in full.videos)
    assert any(v.available_from for v in full.videos)
    assert any(v.available_until for v in full.videos)
    adult = sum(v.age_rating >= 16 for v in full.videos)
    assert 0 < adult < 0.15 * len(full.videos)
    late = 300  # seconds: whoever opened a video may go on watching it
    shown = full.events.to_pylist()
    for e in shown:
        video, age = by_id[e["video_id"]], full.users[e["user_id"]].age
        assert age is None or video.age_rating <= age
        assert e["country"] not in video.countries_blocked
        assert video.countries_allowed is None or e["country"] in video.countries_allowed
        if e["type"] == "impression":
            if video.available_until:
                assert e["timestamp"] <= video.available_until.timestamp() + late
            if video.available_from:
                assert e["timestamp"] >= video.available_from.timestamp()


def test_higher_places_are_clicked_more(full: Dataset, learnable: Prepared) -> None:
    kind = np.array(full.events.column("type").to_pylist())
    place = full.events.column("position").to_numpy()

    def rate(low: int, high: int) -> float:
        inside = (place >= low) & (place < high)
        clicks = ((kind == "click") & inside).sum()
        return float(clicks / ((kind == "impression") & inside).sum())

    assert rate(0, 2) > 1.7 * rate(2, 4) > 1.7 * rate(4, 9)
    c = counters(learnable.activity, np.inf)
    assert c.clicks.sum() <= c.impressions.sum()


def test_titles_can_be_read_and_tell_the_category(full: Dataset) -> None:
    """A title's words predict its category: naive Bayes on every second video."""
    titles = [v.title for v in full.videos]
    assert len(set(titles)) > 0.5 * len(titles)
    assert all(t[0].isupper() and len(t) < 80 for t in titles)
    counts: dict[str, dict[str, int]] = {}
    for video in full.videos[::2]:
        for word in set(video.title.lower().split()):
            per = counts.setdefault(word, {})
            per[video.category or ""] = per.get(video.category or "", 0) + 1
    right = 0
    for video in full.videos[1::2]:
        score: dict[str, float] = {}
        for word in set(video.title.lower().split()):
            total = sum(counts.get(word, {}).values())
            for category, n in counts.get(word, {}).items():
                score[category] = score.get(category, 0.0) + n / total
        right += bool(score) and max(score, key=lambda c: score[c]) == video.category
    assert right > 0.7 * len(full.videos[1::2])


def hits(log: Log) -> tuple[float, float, float]:
    """Share of the last tenth's events among ten guesses: popularity, neighbours, next video."""
    cut = preprocess.split(log)[1]
    past, future = log.until(cut), log.between(cut, len(log))
    order, bounds = past.histories()
    n = log.n_videos
    seen = csr_matrix((np.ones(cut), (past.user, past.video)), shape=(log.n_users, n))
    norm = np.sqrt(views(past)) + 3.0
    together = (seen.T @ seen).toarray() / norm[:, None] / norm
    np.fill_diagonal(together, 0)
    video, same = past.video[order], np.diff(past.user[order]) == 0
    after = np.zeros((n, n))
    np.add.at(after, (video[:-1][same], video[1:][same]), 1)
    popular = views(past).astype(float)
    history = {u: video[bounds[u] : bounds[u + 1]].tolist() for u in range(log.n_users)}
    found = np.zeros(3)
    for user, target in zip(future.user.tolist(), future.video.tolist(), strict=True):
        mine = history[user]
        if mine:
            scores = (popular, together[mine].sum(0), after[mine[-1]] + 1e-6 * popular)
            for j, score in enumerate(scores):
                unseen = score.copy()
                unseen[mine] = -1
                found[j] += target in np.argpartition(-unseen, 10)[:10]
        mine.append(target)
    a, b, c = (found / len(future)).tolist()
    return a, b, c


def test_a_model_that_learns_beats_popularity(learnable: Prepared) -> None:
    popular, neighbours, following = hits(learnable.log)
    assert neighbours > 1.5 * popular
    assert following > 3 * popular
    assert following > 0.15


def test_without_structure_nothing_can_be_learned(random: Prepared) -> None:
    chance = 10 / SMALL.videos
    for rate in hits(random.log):
        assert rate < 3 * chance
