"""The model in production, as a training run sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import bundle
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes import local
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports
from vireo.training.deployment import in_production


@pytest.fixture
def meter() -> LocalMeter:
    return LocalMeter()


@pytest.fixture
def ports(tmp_path: Path, meter: LocalMeter) -> Ports:
    return local.home(tmp_path, meter=meter).open("default")


def test_nothing_is_in_production_at_first(ports: Ports) -> None:
    assert in_production(ports) is None


def test_what_serves_is_in_production(ports: Ports) -> None:
    published = bundle()
    bundles.publish(published, ports.blobs)
    pointer.switch(ports.records, published.version, expect=None)
    found = in_production(ports)
    assert found is not None
    assert found.version == published.version


def test_a_damaged_bundle_does_not_block_the_next(ports: Ports, meter: LocalMeter) -> None:
    published = bundle()
    bundles.publish(published, ports.blobs)
    pointer.switch(ports.records, published.version, expect=None)
    ports.blobs.delete(f"bundles/{published.version}/features.npy")
    assert in_production(ports) is None
    assert meter.total("BundleRefused") == 1
