"""The generated world: videos with positions in taste space, and viewers with drifting tastes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.models import Status, Video
from vireo.training.generator.words import WORDS, episode, title, topic_words
from vireo.viewers.profile import Profile

DAY = 86_400.0
DIMENSIONS = 24
TOPICS = 6  #: per category
RELATED = 10  #: videos that a player would offer next
FAVOURITES = 3  #: channels that a viewer follows
DEVICES = ("mobile", "desktop", "tv", "tablet")
#: Language and share of viewers by country.
COUNTRIES = {
    "US": ("en", 0.24), "GB": ("en", 0.10), "DE": ("de", 0.14), "AT": ("de", 0.04),
    "FR": ("fr", 0.11), "ES": ("es", 0.09), "MX": ("es", 0.08), "BR": ("pt", 0.08),
    "IN": ("en", 0.06), "JP": ("ja", 0.04), "IT": ("it", 0.02),
}  # fmt: skip
LANGUAGES = ("en", "de", "es", "fr", "pt", "ja", "it")
_CODES = tuple(COUNTRIES)
_CATEGORIES = tuple(WORDS)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Videos:
    """n videos, as arrays for the feed."""

    ids: list[str]
    taste: Floats  #: [n, DIMENSIONS], unit
    category: Ints
    topic: Ints  #: of all categories' topics
    channel: Ints
    language: Ints
    appeal: Floats  #: [n] > 0, long-tailed
    evergreen: Floats  #: [n] share of the appeal that does not fade
    duration: Floats  #: seconds
    published: Floats  #: unix seconds
    removed: Floats  #: unix seconds of its removal, inf for most
    opens: Floats  #: start of the publish window, -inf for most
    age_rating: Ints
    allowed: NDArray[np.bool_]  #: [n, countries]
    following: Ints  #: the next episode, -1 none
    related: Ints  #: [n, RELATED], -1 none
    catalogue: list[Video]


@dataclass(frozen=True)
class Viewers:
    """m viewers, as arrays for the feed."""

    ids: list[str]
    before: Floats  #: [m, DIMENSIONS] taste at the start, unit
    after: Floats  #: taste at the end, after the drift
    age: Ints
    country: Ints
    language: Ints
    joined: Floats  #: unix seconds
    activity: Floats  #: > 0, long-tailed
    favourites: Ints  #: [m, FAVOURITES] channels
    device: Ints  #: the main one
    evening: Floats  #: share of sessions in the evening
    profiles: dict[str, Profile]


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(float(seconds)), UTC)


def topics(rng: np.random.Generator) -> Floats:
    """Tastes [categories, TOPICS, DIMENSIONS], similar within a category."""
    categories = _unit(rng.normal(size=(len(WORDS), 1, DIMENSIONS)))
    return _unit(categories + 0.8 * _unit(rng.normal(size=(len(WORDS), TOPICS, DIMENSIONS))))


@dataclass(frozen=True)
class _Kinds:
    """The contents of n videos: arrays [n]."""

    channel: Ints
    category: Ints
    topic: Ints
    series: Ints  #: 0–2 within the channel, -1 none
    language: Ints
    taste: Floats  #: [n, DIMENSIONS]
    appeal: Floats


@dataclass(frozen=True)
class _Windows:
    """The availability of n videos: unix seconds [n]."""

    published: Floats
    removed: Floats
    opens: Floats
    closes: Floats


def make_videos(
    rng: np.random.Generator, n: int, topic_taste: Floats, start: float, end: float, *, fresh: float
) -> Videos:
    """n videos on channels; a share ``fresh`` of them is uploaded between start and end.

    With ``fresh`` 0 none is removed between start and end, either.
    """
    kinds = _kinds(rng, n, topic_taste)
    windows = _windows(rng, n, start, end, fresh)
    following, number = _series(kinds.channel, kinds.series, windows.published)
    duration = rng.lognormal(np.log(150) + 0.12 * kinds.category, 0.7).clip(10, 7200).round()
    allowed, lists = _countries(rng, n)
    ids = [f"v{j:06d}" for j in rng.permutation(n)]
    age_rating = rng.choice([0, 12, 16, 18], n, p=[0.9, 0.05, 0.03, 0.02])
    hidden = rng.random(n) < 0.5
    texts = _texts(rng, kinds, number)
    topic = kinds.category * TOPICS + kinds.topic
    catalogue = [
        Video(
            video_id=ids[j],
            title=texts[j][0],
            category=_CATEGORIES[kinds.category[j]],
            channel_id=f"c{kinds.channel[j]:05d}",
            language=LANGUAGES[kinds.language[j]],
            duration_seconds=float(duration[j]),
            published_at=_moment(windows.published[j]),
            tags=texts[j][1],
            age_rating=int(age_rating[j]),
            status=_status(windows.removed[j], hidden=bool(hidden[j])),
            countries_allowed=lists[j][0],
            countries_blocked=lists[j][1],
            available_from=_moment(windows.opens[j]) if np.isfinite(windows.opens[j]) else None,
            available_until=_moment(windows.closes[j]) if np.isfinite(windows.closes[j]) else None,
        )
        for j in range(n)
    ]
    return Videos(
        ids=ids,
        taste=kinds.taste,
        category=kinds.category,
        topic=topic,
        channel=kinds.channel,
        language=kinds.language,
        appeal=kinds.appeal,
        evergreen=rng.beta(1.2, 6, n),
        duration=duration,
        published=windows.published,
        removed=np.minimum(windows.removed, windows.closes),
        opens=windows.opens,
        age_rating=age_rating,
        allowed=allowed,
        following=following,
        related=_related(rng, topic, kinds.appeal),
        catalogue=catalogue,
    )


def _kinds(rng: np.random.Generator, n: int, topic_taste: Floats) -> _Kinds:
    """Channels of very different sizes, each with a category, a language, a style and a quality."""
    channels = max(6, n // 40)
    share = rng.pareto(1.5, channels) + 0.2
    channel = rng.choice(channels, n, p=share / share.sum())
    rank = 1 / np.sqrt(np.arange(1, len(WORDS) + 1))
    category = rng.choice(len(WORDS), channels, p=rank / rank.sum())[channel]
    language = rng.choice(len(LANGUAGES), channels, p=[0.5, 0.14, 0.12, 0.1, 0.07, 0.04, 0.03])
    main_topic = rng.integers(TOPICS, size=channels)[channel]
    series = np.where(rng.random(n) < 0.35, rng.integers(3, size=n), -1)
    topic = np.where(rng.random(n) < 0.7, main_topic, rng.integers(TOPICS, size=n))
    topic = np.where(series >= 0, (main_topic + series) % TOPICS, topic)
    style = _unit(rng.normal(size=(channels, DIMENSIONS)))[channel]
    own = _unit(rng.normal(size=(n, DIMENSIONS)))
    return _Kinds(
        channel=channel,
        category=category,
        topic=topic,
        series=series,
        language=language[channel],
        taste=_unit(topic_taste[category, topic] + 0.35 * style + 0.35 * own),
        appeal=rng.lognormal(0, 1.4, n) * rng.lognormal(0, 0.6, channels)[channel],
    )


def _windows(rng: np.random.Generator, n: int, start: float, end: float, fresh: float) -> _Windows:
    """Uploads before and after the start; some videos are removed or have a publish window."""
    new = rng.random(n) < fresh
    old = start - rng.exponential(240 * DAY, n)
    published = np.where(new, rng.uniform(start, end, n), old).round()
    removed = np.where(rng.random(n) < 0.03, rng.uniform(start, end, n), np.inf)
    later = (published + rng.uniform(1, 10, n) * DAY).round()
    opens = np.where(rng.random(n) < 0.01, later, -np.inf)
    closing = (end + rng.uniform(-20, 30, n) * DAY).round()
    closes = np.where(rng.random(n) < 0.01, np.maximum(closing, later + DAY), np.inf)
    if not fresh:
        removed[:], opens[:], closes[:] = np.inf, -np.inf, np.inf
    return _Windows(published, removed, opens, closes)


def _texts(
    rng: np.random.Generator, kinds: _Kinds, number: Ints
) -> list[tuple[str, tuple[str, ...]]]:
    """Title and tags of every video, from the words of its topic; ``number`` is of the episode."""
    words = topic_words(rng, TOPICS)
    draws = rng.integers(1 << 30, size=(len(number), 3)).tolist()
    texts: list[tuple[str, tuple[str, ...]]] = []
    for j, draw in enumerate(draws):
        mine = words[kinds.category[j]][kinds.topic[j]]
        series = int(kinds.series[j])
        name = int(kinds.channel[j]) * 3 + series
        text = episode(mine, name, int(number[j]), draw) if series >= 0 else title(mine, draw)
        texts.append((text, (mine[draw[2] % 8], mine[(draw[2] + 3) % 8])))
    return texts


def _status(removed: float, *, hidden: bool) -> Status:
    if not np.isfinite(removed):
        return Status.PUBLIC
    return Status.PRIVATE if hidden else Status.DELETED


def _series(channel: Ints, series: Ints, published: Floats) -> tuple[Ints, Ints]:
    """The next episode of every video (-1 none), and its own number from 1."""
    n = len(channel)
    following, number = np.full(n, -1), np.zeros(n, np.int64)
    order = np.lexsort((np.arange(n), published, series, channel))
    key = (channel * 3 + series)[order]
    in_series = series[order] >= 0
    same = (key[1:] == key[:-1]) & in_series[1:] & in_series[:-1]
    following[order[:-1][same]] = order[1:][same]
    begins = np.r_[True, ~same]
    first = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
    number[order] = np.arange(n) - first + 1
    return following, number


def _related(rng: np.random.Generator, topic: Ints, appeal: Floats) -> Ints:
    """Videos of the same topic, those of high appeal more often: int [n, RELATED]."""
    related = np.full((len(topic), RELATED), -1)
    for one in np.unique(topic):
        members = np.flatnonzero(topic == one)
        p = np.sqrt(appeal[members])
        related[members] = rng.choice(members, (len(members), RELATED), p=p / p.sum())
    related[related == np.arange(len(topic))[:, None]] = -1
    return related


def _countries(
    rng: np.random.Generator, n: int
) -> tuple[NDArray[np.bool_], list[tuple[tuple[str, ...] | None, tuple[str, ...]]]]:
    """Permissions by country, as a matrix [n, countries] and as the catalogue's two lists."""
    kind, some = rng.random(n), rng.random((n, len(_CODES))).argsort(1)[:, :3]
    allowed = np.ones((n, len(_CODES)), bool)
    lists: list[tuple[tuple[str, ...] | None, tuple[str, ...]]] = [(None, ())] * n
    for j in np.flatnonzero(kind < 0.03).tolist():
        names = tuple(sorted(_CODES[c] for c in some[j]))
        if kind[j] < 0.01:
            lists[j] = (names, ())
            allowed[j] = False
            allowed[j, some[j]] = True
        else:
            lists[j] = (None, names)
            allowed[j, some[j]] = False
    return allowed, lists


def make_viewers(
    rng: np.random.Generator,
    m: int,
    topic_taste: Floats,
    videos: Videos,
    *,
    start: float,
    end: float,
) -> Viewers:
    """m viewers, a quarter of whom join between start and end."""
    flat = topic_taste.reshape(-1, DIMENSIONS)

    def tastes() -> Floats:
        liked = rng.choice(len(flat), (m, 3))
        weights = rng.dirichlet([1.2] * 3, m)
        return _unit((flat[liked] * weights[:, :, None]).sum(1))

    before = tastes()
    drift = rng.uniform(0, 0.8, (m, 1))
    after = _unit((1 - drift) * before + drift * tastes())
    country = rng.choice(len(_CODES), m, p=[share for _, share in COUNTRIES.values()])
    spoken = np.array([LANGUAGES.index(language) for language, _ in COUNTRIES.values()])
    joined = np.where(
        rng.random(m) < 0.25,
        rng.uniform(start, end - DAY, m),
        start - rng.exponential(300 * DAY, m),
    ).round()
    age = rng.gamma(6, 5.5, m).clip(6, 90).astype(np.int64)
    ids = [f"u{j:05d}" for j in range(m)]
    untold = rng.random((m, 2)) < 0.03
    profiles = {
        ids[j]: Profile(
            age=None if untold[j, 0] else int(age[j]),
            country=_CODES[country[j]],
            language=None if untold[j, 1] else LANGUAGES[spoken[country[j]]],
            joined_at=_moment(joined[j]),
        )
        for j in range(m)
    }
    return Viewers(
        ids=ids,
        before=before,
        after=after,
        age=age,
        country=country,
        language=spoken[country],
        joined=joined,
        activity=rng.lognormal(0, 1.0, m),
        favourites=_favourites(rng, before, videos),
        device=rng.choice(len(DEVICES), m, p=[0.55, 0.2, 0.15, 0.1]),
        evening=rng.beta(4, 3, m),
        profiles=profiles,
    )


def _favourites(rng: np.random.Generator, taste: Floats, videos: Videos) -> Ints:
    """The channels that please a viewer most, among a few random ones."""
    n_channels = int(videos.channel.max()) + 1
    sums = np.zeros((n_channels, DIMENSIONS))
    np.add.at(sums, videos.channel, videos.taste)
    met = rng.integers(n_channels, size=(len(taste), 12))
    fit = np.einsum("md,mkd->mk", taste, _unit(sums[met] + 1e-9))
    best = np.argsort(-fit, axis=1, kind="stable")[:, :FAVOURITES]
    return np.take_along_axis(met, best, 1)
