"""Releases by Lambda versions: each version has its bundles in its snapshot.

The function's configuration names the bundle of every tenant. When a version is published, it loads
these bundles before Lambda takes its snapshot. The alias is then shifted to the version: by
CodeDeploy, whose alarms shift it back, or at once if there is no deployment group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from botocore.exceptions import WaiterError

from vireo.homes.aws.errors import translated
from vireo.ports import Refused, Withdrawn
from vireo.settings import Settings

#: The alias that the API calls.
ALIAS = "live"
_SERVES = "VIREO_SERVES"
#: Lambda's limit on the size of all environment variables, in bytes.
_ROOM = 4096


class LambdaReleases:
    """`vireo.ports.Releases` of one tenant. Its only time limit is the calling Lambda's."""

    def __init__(self, client: Callable[[str], Any], tenant: str, settings: Settings) -> None:
        self._client = client
        self._tenant = tenant
        self._function = settings.serving_function
        self._group = settings.serving_group

    def begin(self, version: str) -> str | None:
        """See the port. Waits for the snapshot, which takes minutes."""
        with translated(f"release {version}"):
            try:
                self._configure(version)
                published = self._publish()
            except WaiterError as error:
                raise Withdrawn(f"{version} cannot be loaded: {error}") from error
            return self._shift_to(published)

    def finished(self, release: str) -> bool:
        """See the port."""
        with translated(f"release {release}"):
            info = self._client("codedeploy").get_deployment(deploymentId=release)["deploymentInfo"]
        if info["status"] in ("Failed", "Stopped"):
            reason = info.get("errorInformation", {}).get("message", "no reason given")
            raise Withdrawn(f"release {release}: {info['status']}: {reason}")
        return bool(info["status"] == "Succeeded")

    def _configure(self, version: str) -> None:
        """Add the bundle to the function's configuration; the revision id detects other writers."""
        lambda_ = self._client("lambda")
        found = lambda_.get_function_configuration(FunctionName=self._function)
        variables: dict[str, str] = found["Environment"]["Variables"]
        serves = self._serves(variables) | {self._tenant: version}
        wanted = orjson.dumps(serves, option=orjson.OPT_SORT_KEYS).decode()
        if variables.get(_SERVES) == wanted:
            return
        variables[_SERVES] = wanted
        if sum(len(k) + len(v) for k, v in variables.items()) > _ROOM:
            raise Refused(f"release {version}: too many tenants for one function")
        lambda_.update_function_configuration(
            FunctionName=self._function,
            Environment={"Variables": variables},
            RevisionId=found["RevisionId"],
        )
        lambda_.get_waiter("function_updated").wait(FunctionName=self._function)

    def _serves(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Bundles by tenant, as configured; as in the alias if a deployment reset the variables."""
        if _SERVES not in variables:
            live = self._client("lambda").get_function_configuration(
                FunctionName=self._function, Qualifier=ALIAS
            )
            variables = live["Environment"]["Variables"]
        serves: dict[str, str] = orjson.loads(variables.get(_SERVES, "{}"))
        return serves

    def _publish(self) -> str:
        """The version of the current configuration: a new one, or the last if nothing changed."""
        lambda_ = self._client("lambda")
        published: str = lambda_.publish_version(FunctionName=self._function)["Version"]
        lambda_.get_waiter("published_version_active").wait(
            FunctionName=self._function, Qualifier=published
        )
        return published

    def _shift_to(self, version: str) -> str | None:
        lambda_ = self._client("lambda")
        named = {"FunctionName": self._function, "Name": ALIAS}
        serving = lambda_.get_alias(**named)["FunctionVersion"]
        if serving == version:
            return None
        if self._group is None:
            lambda_.update_alias(**named, FunctionVersion=version)
            return None
        application, _, group = self._group.partition("/")
        begun = self._client("codedeploy").create_deployment(
            applicationName=application,
            deploymentGroupName=group,
            revision={
                "revisionType": "AppSpecContent",
                "appSpecContent": {"content": self._specification(serving, version)},
            },
        )
        return str(begun["deploymentId"])

    def _specification(self, serving: str, version: str) -> str:
        properties = {
            "Name": self._function,
            "Alias": ALIAS,
            "CurrentVersion": serving,
            "TargetVersion": version,
        }
        resource = {"Type": "AWS::Lambda::Function", "Properties": properties}
        return orjson.dumps({"version": 0.0, "Resources": [{"recommend": resource}]}).decode()
