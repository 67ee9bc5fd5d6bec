"""The bill is made of the templates' resources, and docs/operations.md shows it as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from scripts import costs
from stacks.environments import DEV, ENVIRONMENTS, PROD
from tests.infra.templates import Templates
from vireo.training.upkeep import KEPT


@pytest.fixture(scope="module")
def resources(clouds: Mapping[str, Templates]) -> dict[str, Counter[str]]:
    """By environment."""
    return {name: costs.count(cloud.by_stack.values()) for name, cloud in clouds.items()}


def test_the_document_is_not_stale(resources: Mapping[str, Counter[str]]) -> None:
    text = costs.DOCUMENT.read_text()
    assert costs.document(resources, text) == text, "run scripts/costs.py --write"
    with pytest.raises(ValueError, match="no <!-- costs"):
        costs.document(resources, "nothing to see")


def test_what_is_counted(resources: Mapping[str, Counter[str]]) -> None:
    dev, staging, prod = (resources[name] for name in ("dev", "staging", "prod"))
    assert [r["AWS::EC2::NatGateway"] for r in (dev, staging, prod)] == [0, 1, 1]
    assert [r["zones"] for r in (dev, staging, prod)] == [0, 2, 2]
    assert [r["rules"] for r in (dev, staging, prod)] == [0, 5, 5]
    assert [r["snapped"] for r in (dev, staging, prod)] == [0, 2, 2]
    assert dev["alarmed"] == 0
    assert prod["alarmed"] >= prod["AWS::CloudWatch::Alarm"] > 20


def dollars(lines: list[costs.Line], price: str) -> float:
    return sum(line.dollars for line in lines if line.price == price)


def test_a_bill_by_hand() -> None:
    load = costs.Load(requests=2e6, viewers=1e6, trainings=0, callers=1)
    found = Counter({"AWS::DynamoDB::Table": 5, "AWS::EC2::NatGateway": 1})
    lines = costs.bill(DEV, found, load, costs.CATALOGUES["100K"])
    assert dollars(lines, "API Gateway") == pytest.approx(4 * 3.5)  # as many calls with events
    assert dollars(lines, "NAT gateway") == pytest.approx(0.045 * 730)
    # of 20 million events four are in a write of 2 KB; every 64th settles 16 + 2 + 26 KB, at twice
    units = 5 * 2 + 20 / 64 * 2 * 44
    # A batch of 500 rewrites 160 KB of counters, which are read every half a minute, too.
    counted = 20 / 500 * 160
    polled = 20 / 500 * 40 + 2 * 730 * 120 / 1e6 * 40
    assert dollars(lines, "DynamoDB, writes on demand") == pytest.approx((units + counted) * 0.625)
    read = 2 * 5 + 5 * 7 + polled
    assert dollars(lines, "DynamoDB, reads on demand") == pytest.approx(read * 0.125)
    provisioned = costs.bill(PROD, found, replace(load, requests=2e7), costs.CATALOGUES["100K"])
    busy = 10 * units * 1e6 / (730 * 3600) * 1.43
    of_counters = 10 * counted * 1e6 / (730 * 3600) * 1.43
    assert busy > of_counters > 25
    assert dollars(provisioned, "DynamoDB, write capacity") == pytest.approx(
        (3 * 25 + busy + of_counters) * 730 * 0.00065
    )
    least = costs.bill(PROD, found, load, costs.CATALOGUES["100K"])
    assert dollars(least, "DynamoDB, write capacity") == pytest.approx(5 * 25 * 730 * 0.00065)


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_more_of_anything_is_never_cheaper(
    name: str, resources: Mapping[str, Counter[str]]
) -> None:
    def total(load: costs.Load, size: str) -> float:
        catalogue = costs.CATALOGUES[size]
        lines = costs.bill(ENVIRONMENTS[name], resources[name], load, catalogue)
        return sum(line.dollars for line in lines)

    load = costs.LOADS[name]
    base = total(load, "100K")
    assert total(load, "1M") > base
    for more in ("requests", "viewers", "trainings", "callers"):
        assert total(replace(load, **{more: 2 * getattr(load, more)}), "100K") > base


def test_every_price_is_charged_somewhere(resources: Mapping[str, Counter[str]]) -> None:
    charged = {
        line.price
        for name, environment in ENVIRONMENTS.items()
        for line in costs.bill(
            environment, resources[name], costs.LOADS[name], costs.CATALOGUES["1M"]
        )
    }
    assert charged == set(costs.PRICES)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_budget_is_over_the_bill_and_not_far(
    resources: Mapping[str, Counter[str]], name: str
) -> None:
    """So that it is silent at the load that is stated, and rings before twice that is spent."""
    environment = ENVIRONMENTS[name]
    for catalogue in costs.CATALOGUES.values():
        lines = costs.bill(environment, resources[name], costs.LOADS[name], catalogue)
        spent = sum(line.dollars for line in lines)
        assert spent < 0.8 * environment.budget < 2 * spent


def test_the_page_prices_what_upkeep_keeps() -> None:
    """Beside the newest bundles, the one that serves and the one before."""
    assert costs.MONTHS_KEPT == 12
    assert costs.HABITS.bundles == KEPT.bundles + 2
    assert costs.HABITS.snapshots == KEPT.versions + 1
