"""A damaged bundle is a bad minute: it is tried again, and the one before serves meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommend.app import build
from tests.served import deploy, served
from vireo.bundles import files, pointer
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, home
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports, Unavailable
from vireo.recommender import serving
from vireo.recommender.contents import ModelBundle
from vireo.recommender.serving import NoModel, Serving

pytestmark = pytest.mark.usefixtures("patient")
FILE = "bundles/{}/vectors.npy"


@pytest.fixture
def laptop(tmp_path: Path, clock: MovableClock, meter: LocalMeter) -> LocalHome:
    return home(tmp_path, clock=clock, meter=meter)


@pytest.fixture
def ports(laptop: LocalHome) -> Ports:
    return laptop.open("default")


def damage(ports: Ports, version: str) -> bytes:
    """Changes a byte of a bundle; returns what was there."""
    sound = ports.blobs.read(FILE.format(version))
    ports.blobs.write(FILE.format(version), sound[:-1] + bytes([sound[-1] ^ 1]))
    return sound


def test_while_nothing_serves_it_is_tried_again(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    sound = damage(ports, "b1")
    serves = Serving(ports)
    for _ in range(3):  # requests come at once, and do not download it each
        with pytest.raises(NoModel, match=r"b1: vectors.npy: checksum differs"):
            serves.view()
    assert meter.total("BundleRefused") == 1
    clock.advance(serving.AGAIN)
    with pytest.raises(NoModel, match="checksum differs"):
        serves.view()
    assert meter.total("BundleRefused") == 2
    ports.blobs.write(FILE.format("b1"), sound)
    clock.advance(serving.AGAIN)
    assert served(serves) == "b1"


def test_a_fresh_process_falls_back_until_the_bundle_is_mended(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    deploy(ports, "b2", seed=1)
    sound = damage(ports, "b2")
    serves = Serving(ports)
    assert served(serves) == "b1"
    assert (meter.total("BundleRefused"), meter.total("BundleBefore")) == (1, 1)
    for _ in range(5):
        clock.advance(serving.EVERY)
        assert served(serves) == "b1"
    assert meter.total("BundleRefused") == 1, "while another serves, it is not fetched all the time"
    ports.blobs.write(FILE.format("b2"), sound)
    clock.advance(serving.LATER)
    serves.view()
    assert served(serves) == "b2"


def test_a_bundle_before_that_is_wanted_again_is_served(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    deploy(ports, "b2", seed=1)
    damage(ports, "b2")
    serves = Serving(ports)
    assert served(serves) == "b1"
    pointer.rollback(ports.records)
    clock.advance(serving.EVERY)
    assert served(serves) == "b1"
    deploy(ports, "b3", seed=2)
    clock.advance(serving.EVERY)
    serves.view()
    assert served(serves) == "b3"
    assert meter.total("BundleRefused") == 1


def test_two_damaged_bundles_are_both_told(ports: Ports) -> None:
    for version in ("b1", "b2"):
        deploy(ports, version)
        damage(ports, version)
    with pytest.raises(NoModel, match=r"b2: vectors.npy.*; b1: vectors.npy"):
        Serving(ports).view()


@pytest.mark.parametrize(
    "broken",
    [
        {"popular": np.zeros(0, np.int32)},
        {"ranker/nonsense": np.zeros(1)},
    ],
    ids=["popular", "ranker"],
)
def test_a_bundle_that_is_whole_and_makes_no_sense_is_refused_too(
    ports: Ports, meter: LocalMeter, broken: dict[str, Any]
) -> None:
    deploy(ports, "b1")
    deploy(ports, "b2", **broken)
    assert served(Serving(ports)) == "b1"
    assert meter.total("BundleRefused") == 1


def test_a_store_of_files_that_is_away_is_no_damage(
    ports: Ports, meter: LocalMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)

    def away(*args: Any) -> ModelBundle:
        raise Unavailable("blobs: no answer")

    with monkeypatch.context() as patch:
        patch.setattr(files, "fetch", away)
        with pytest.raises(NoModel, match="blobs: no answer"):
            serves.view()
    assert not meter.total("BundleRefused")
    assert served(serves) == "b1"


def test_a_process_that_is_published_for_a_bundle_takes_no_other(ports: Ports) -> None:
    """Or a release would be called good that serves another bundle."""
    deploy(ports, "b1")
    deploy(ports, "b2", seed=1)
    damage(ports, "b2")
    with pytest.raises(NoModel, match=r"^no bundle can be loaded: b2: vectors.npy[^;]*$"):
        Serving(replace(ports, serves="b2")).view()


def test_no_snapshot_is_made_of_a_damaged_bundle(ports: Ports, laptop: LocalHome) -> None:
    deploy(ports, "b1")
    damage(ports, "b1")
    with pytest.raises(NoModel, match=r"b1: vectors.npy"):
        build(laptop, ["default"])
