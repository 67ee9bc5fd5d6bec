"""Rules begin by counting, and none refuses what our callers send, even if all are to block."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import aws_cdk as cdk
import pytest
from aws_cdk import assertions

from stacks import firewall
from stacks.environments import ENVIRONMENTS, PROD, Firewall
from tests.calls import ROUTES
from tests.infra import waf
from tests.infra.templates import Templates
from vireo.problems import ErrorBody

HEADERS = {"host": "api.example.com", "authorization": "Bearer t", "user-agent": "backend/1.0"}
#: What a video is called, or a viewer, that a rule may take for an attack.
TITLES = (
    "Log4Shell explained: ${jndi:ldap://x}",
    "What <script>alert(1)</script> does",
    "cd ../../etc, and other paths",
    "curl http://192.168.0.1/x and http://169.254.169.254/latest/meta-data",
)
IDS = ("error.log", "php.ini", "<script>", "${jndi:ldap:x}", "..", "169.254.169.254", "web-inf")


def acl(environment: Any) -> Mapping[str, Any]:
    """The properties of an environment's web ACL."""
    stack = cdk.Stack(cdk.App(), "only")
    firewall.web_acl(stack, environment)
    found = assertions.Template.from_stack(stack).find_resources("AWS::WAFv2::WebACL")
    ((_, resource),) = found.items()
    properties: Mapping[str, Any] = resource["Properties"]
    return properties


@pytest.fixture(scope="module")
def strict() -> Mapping[str, Any]:
    """Prod, were every rule listed."""
    listed = Firewall(client_rate=1000, blocks=frozenset(firewall.RULES))
    return acl(replace(PROD, firewall=listed))


def ours() -> Iterator[waf.Request]:
    """What callers send: every route, full batches, odd ids and titles."""
    for method, path, body, _ in ROUTES:
        text = "" if body is None else json.dumps(body)
        yield waf.Request(method, path, headers=HEADERS, body=text)
        unnamed = {name: value for name, value in HEADERS.items() if name != "user-agent"}
        yield waf.Request(method, path, headers=unnamed, body=text)
    yield waf.Request("GET", "/health", headers={"host": "api.example.com"})
    event = {"event_id": "e" * 36, "user_id": "u" * 128, "video_id": "v" * 128, "type": "like"}
    for path, name, thing in (
        ("/v1/events", "events", {**event, "timestamp": 1.7e9}),
        ("/v1/videos/batch", "videos", {"video_id": "v" * 128, "title": "t" * 500}),
    ):
        yield waf.Request("POST", path, headers=HEADERS, body=json.dumps({name: [thing] * 500}))
    for title in TITLES:
        text = json.dumps({"videos": [{"video_id": "v", "title": title}]})
        yield waf.Request("POST", "/v1/videos/batch", headers=HEADERS, body=text)
    printable = "".join(c for c in string.printable if 0x21 <= ord(c) < 0x7F and c != "/")
    windows = [printable[a:b] for a, b in pairwise(range(0, len(printable), 3))]
    for id in (*IDS, "%" * 128, *windows):
        for path in ("/v1/videos/{}", "/v1/users/{}", "/v1/videos/{}/similar"):
            yield waf.Request("GET", path.format(quote(id, safe="")), headers=HEADERS)
    longest = f"limit=100&age=120&country=DE&language=de&category={quote('語' * 64)}"
    yield waf.Request("GET", "/v1/trending", longest, HEADERS)


def test_every_rule_of_ours_and_of_aws_is_played(strict: Mapping[str, Any]) -> None:
    assert [rule["Name"] for rule in strict["Rules"]] == list(firewall.RULES)
    assert waf.GROUPS.keys() == firewall.MANAGED.keys()
    for group, counted in firewall.MANAGED.items():
        assert set(counted) <= waf.GROUPS[group].keys()


def test_nothing_that_callers_send_is_refused_even_if_all_rules_block(
    strict: Mapping[str, Any],
) -> None:
    judge = waf.Firewall(strict).judge
    seen: set[str] = set()
    for request in ours():
        verdict = judge(request)
        assert verdict.blocked is None, request
        seen |= set(verdict.counted)
    # That these lie in wait for what callers send is why they count.
    always = {name for counted in firewall.MANAGED.values() for name in counted}
    assert seen <= always
    assert always - seen <= {  # what no id and no title of ours looks like
        "GenericLFI_URIPATH",
        "GenericRFI_URIPATH",
        "JavaDeserializationRCE_BODY",
        "JavaDeserializationRCE_URIPATH",
        "ReactJSRCE_BODY",
    }


#: By rule: what nobody who means well sends.
ATTACKS = {
    "AWSManagedIPReputationList": waf.Request("GET", "/health", address="203.0.113.9"),
    "Log4JRCE_HEADER": waf.Request("GET", "/health", headers={"x-api": "${jndi:ldap://x}"}),
    "PROPFIND_METHOD": waf.Request("PROPFIND", "/"),
    "UserAgent_BadBots_HEADER": waf.Request("GET", "/", headers={"user-agent": "nmap"}),
    "SizeRestrictions_QUERYSTRING": waf.Request("GET", "/v1/trending", "x" * 2049),
    "SizeRestrictions_URIPATH": waf.Request("GET", "/" + "x" * 1024),
    "CrossSiteScripting_QUERYARGUMENTS": waf.Request("GET", "/", "category=%3Cscript%3E"),
}


@pytest.mark.parametrize("name", ["staging", "prod"])
@pytest.mark.parametrize("rule", ATTACKS)
def test_attacks_are_counted_until_their_group_is_listed(
    clouds: Mapping[str, Templates], strict: Mapping[str, Any], name: str, rule: str
) -> None:
    deployed = clouds[name].one("AWS::WAFv2::WebACL").properties
    counted = waf.Firewall(deployed).judge(ATTACKS[rule])
    assert counted.blocked is None
    assert rule in counted.counted
    assert waf.Firewall(strict).judge(ATTACKS[rule]).blocked == rule


def test_staging_counts_and_blocks_nothing(clouds: Mapping[str, Templates]) -> None:
    rules = clouds["staging"].one("AWS::WAFv2::WebACL").properties["Rules"]
    acting = [rule.get("Action", rule.get("OverrideAction")) for rule in rules]
    assert acting == [{"Count": {}}] * len(firewall.RULES)
    assert not list(clouds["dev"].resources("AWS::WAFv2::WebACL"))
    for name in ("staging", "prod"):
        (association,) = clouds[name].resources("AWS::WAFv2::WebACLAssociation")
        assert "Stage" in json.dumps(association.properties["ResourceArn"])


def test_a_client_that_asks_too_often_is_refused_and_others_are_not(
    clouds: Mapping[str, Templates],
) -> None:
    """From the same address, as a company's servers are."""
    properties = clouds["prod"].one("AWS::WAFv2::WebACL").properties
    tried = waf.Firewall(properties)
    greedy = waf.Request("POST", "/v1/recommendations", headers=HEADERS)
    modest = replace(greedy, headers={**HEADERS, "authorization": "Bearer other"})
    assert PROD.firewall is not None
    within = PROD.firewall.client_rate * firewall.WINDOW
    assert {tried.judge(greedy).blocked for _ in range(within)} == {None}
    refused = tried.judge(greedy)
    assert refused.blocked == "RateOfOneClient"
    assert refused.status == 429
    assert refused.headers == {"Retry-After": str(firewall.WINDOW)}
    assert ErrorBody.model_validate_json(refused.body).error.code == "too_many_requests"
    assert tried.judge(modest).blocked is None
    staging = waf.Firewall(clouds["staging"].one("AWS::WAFv2::WebACL").properties)
    verdicts = [staging.judge(greedy) for _ in range(within)]
    assert {v.blocked for v in verdicts} == {None}
    assert "RateOfOneClient" in verdicts[-1].counted


def test_an_address_may_use_the_whole_api_and_not_more(
    clouds: Mapping[str, Templates],
) -> None:
    """Without a token, too, which costs us nothing but what the firewall does."""
    tried = waf.Firewall(clouds["prod"].one("AWS::WAFv2::WebACL").properties)
    request = waf.Request("GET", "/v1/trending")
    verdicts = [tried.judge(request).blocked for _ in range(PROD.rate * firewall.WINDOW + 1)]
    assert set(verdicts[:-1]) == {None}
    assert verdicts[-1] == "RateOfOneAddress"
    assert tried.judge(replace(request, address="198.51.100.7")).blocked is None


def test_every_rule_has_metrics_that_the_dashboard_shows(
    clouds: Mapping[str, Templates],
) -> None:
    for name in ("staging", "prod"):
        found = clouds[name].one("AWS::WAFv2::WebACL").properties
        board = json.dumps(clouds[name].one("AWS::CloudWatch::Dashboard").properties)
        assert found["VisibilityConfig"]["MetricName"] == f"vireo-{name}"
        for rule in found["Rules"]:
            assert rule["VisibilityConfig"]["CloudWatchMetricsEnabled"] is True
            assert rule["VisibilityConfig"]["MetricName"] in board
        assert "CountedRequests" in board
        assert "BlockedRequests" in board


def test_a_rule_that_does_not_exist_cannot_be_listed() -> None:
    wrong = replace(
        ENVIRONMENTS["staging"], firewall=Firewall(client_rate=1, blocks=frozenset({"Ratte"}))
    )
    with pytest.raises(ValueError, match="Ratte"):
        acl(wrong)
