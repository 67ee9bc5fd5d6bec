"""What a web ACL of our templates does with requests, as far as AWS documents it.

Rates and sizes are as documented. What the managed rules look for is AWS' secret, so each of them
is played by the plainest text that its description names; a rule that only counts lets it through.

Rule groups https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
Rates       https://docs.aws.amazon.com/waf/latest/developerguide/waf-rule-statement-type-rate-based.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """A request as the firewall sees it: before anything is decoded or authorised."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    address: str = "192.0.2.1"

    def part(self, name: str) -> str:
        """A part, by what the names of managed rules end in; decoded, as the rules do."""
        parts = {
            "BODY": self.body,
            "URIPATH": self.path,
            "QUERYARGUMENTS": self.query,
            "QUERYSTRING": self.query,
            "COOKIE": self.headers.get("cookie", ""),
            "HEADER": "\n".join(self.headers.values()),
        }
        return unquote(parts[name]).lower()


Test = Callable[[Request], bool]


def _holding(*texts: str) -> Callable[[str], Test]:
    return lambda part: lambda request: any(text in request.part(part) for text in texts)


def _longer(limit: int, of: Callable[[Request], str]) -> Test:
    return lambda request: len(of(request).encode()) > limit


def _each(name: str, test: Callable[[str], Test], *parts: str) -> dict[str, Test]:
    return {f"{name}_{part}": test(part) for part in parts}


#: The rules of the groups that we use.
GROUPS: Mapping[str, Mapping[str, Test]] = {
    "AWSManagedRulesAmazonIpReputationList": {
        name: lambda request: request.address.startswith("203.0.113.")
        for name in (
            *("AWSManagedIPReputationList", "AWSManagedReconnaissanceList"),
            "AWSManagedIPDDoSList",
        )
    },
    "AWSManagedRulesKnownBadInputsRuleSet": {
        **_each(
            "JavaDeserializationRCE",
            _holding("(java.lang.runtime).getruntime().exec"),
            *("BODY", "HEADER", "QUERYSTRING", "URIPATH"),
        ),
        **_each("Log4JRCE", _holding("${jndi:"), "BODY", "HEADER", "QUERYSTRING", "URIPATH"),
        **_each("ExploitablePaths", _holding("web-inf"), "URIPATH"),
        **_each("ReactJSRCE", _holding('"$1:__proto__'), "BODY"),
        "Host_localhost_HEADER": lambda request: "localhost" in request.headers.get("host", ""),
        "PROPFIND_METHOD": lambda request: request.method == "PROPFIND",
    },
    "AWSManagedRulesCommonRuleSet": {
        "NoUserAgent_HEADER": lambda request: not request.headers.get("user-agent"),
        "UserAgent_BadBots_HEADER": lambda request: "nmap" in request.headers.get("user-agent", ""),
        "SizeRestrictions_BODY": _longer(8192, lambda request: request.body),
        "SizeRestrictions_Cookie_HEADER": _longer(10_240, lambda r: r.headers.get("cookie", "")),
        "SizeRestrictions_QUERYSTRING": _longer(2048, lambda request: request.query),
        "SizeRestrictions_URIPATH": _longer(1024, lambda request: request.path),
        **_each(
            "EC2MetaDataSSRF",
            _holding("169.254.169.254"),
            *("BODY", "COOKIE", "QUERYARGUMENTS", "URIPATH"),
        ),
        **_each("GenericLFI", _holding("../"), "BODY", "QUERYARGUMENTS", "URIPATH"),
        **_each("GenericRFI", _holding("http://192."), "BODY", "QUERYARGUMENTS", "URIPATH"),
        **_each("RestrictedExtensions", _holding(".log", ".ini"), "QUERYARGUMENTS", "URIPATH"),
        **_each(
            "CrossSiteScripting",
            _holding("<script>"),
            *("BODY", "COOKIE", "QUERYARGUMENTS", "URIPATH"),
        ),
    },
}


@dataclass(frozen=True)
class Verdict:
    """What becomes of a request: the rule that blocked it, if one did, and the rules that count."""

    blocked: str | None
    counted: tuple[str, ...]
    #: Of the answer to what is blocked.
    status: int = 403
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


class Firewall:
    """A web ACL, by its properties in a template. One window of its rates lasts as long as it."""

    def __init__(self, acl: Mapping[str, Any]) -> None:
        self._acl = acl
        self._rules = sorted(acl["Rules"], key=lambda rule: rule["Priority"])
        self._seen: Counter[tuple[str, ...]] = Counter()
        assert acl["DefaultAction"] == {"Allow": {}}

    def judge(self, request: Request) -> Verdict:
        """Look at the rules in order, up to the first that blocks."""
        counted: list[str] = []
        for rule in self._rules:
            statement = rule["Statement"]
            if "ManagedRuleGroupStatement" in statement:
                blocks, counts = self._group(rule, statement["ManagedRuleGroupStatement"], request)
                counted += counts
                if blocks is not None:
                    return Verdict(blocks, tuple(counted))
            elif self._too_many(rule["Name"], statement["RateBasedStatement"], request):
                if "Count" not in rule["Action"]:
                    return self._refusal(rule, tuple(counted))
                counted.append(rule["Name"])
        return Verdict(None, tuple(counted))

    def _group(
        self, rule: Mapping[str, Any], group: Mapping[str, Any], request: Request
    ) -> tuple[str | None, list[str]]:
        known = GROUPS[group["Name"]]
        only = {override["Name"] for override in group.get("RuleActionOverrides", [])}
        assert all(o["ActionToUse"] == {"Count": {}} for o in group.get("RuleActionOverrides", []))
        assert only <= known.keys(), f"no such rules: {only - known.keys()}"
        counted: list[str] = []
        for name, test in known.items():
            if not test(request):
                continue
            if name not in only and rule["OverrideAction"] == {"None": {}}:
                return name, counted
            counted.append(name)
        return None, counted

    def _too_many(self, name: str, rate: Mapping[str, Any], request: Request) -> bool:
        if rate["AggregateKeyType"] == "IP":
            key = (name, request.address)
        else:
            (custom,) = rate["CustomKeys"]
            found = request.headers.get(custom["Header"]["Name"])
            if found is None:  # what lacks a key is not looked at
                return False
            key = (name, found)
        self._seen[key] += 1
        return bool(self._seen[key] > rate["Limit"])

    def _refusal(self, rule: Mapping[str, Any], counted: tuple[str, ...]) -> Verdict:
        response = rule["Action"]["Block"]["CustomResponse"]
        body = self._acl["CustomResponseBodies"][response["CustomResponseBodyKey"]]
        headers = {h["Name"]: h["Value"] for h in response["ResponseHeaders"]}
        return Verdict(rule["Name"], counted, response["ResponseCode"], headers, body["Content"])
