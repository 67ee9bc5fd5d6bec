"""Reading CloudFormation templates: resources, references and policies as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Resource:
    """A resource of a template."""

    stack: str  #: without ``vireo-<environment>-``
    id: str
    type: str
    properties: dict[str, Any]
    whole: dict[str, Any]


@dataclass(frozen=True)
class Templates:
    """All templates of an environment, by stack."""

    environment: str
    folder: Path
    by_stack: dict[str, dict[str, Any]]

    def resources(self, *types: str, stack: str | None = None) -> Iterator[Resource]:
        """Resources of these types (all, if none is named), of one stack or of all."""
        for name, template in self.by_stack.items():
            for id, found in template["Resources"].items():
                if stack in (None, name) and (not types or found["Type"] in types):
                    yield Resource(name, id, found["Type"], found.get("Properties", {}), found)

    def one(self, type: str, id: str | None = None) -> Resource:
        """The only resource of a type, or the one whose logical id begins so."""
        found = [r for r in self.resources(type) if id is None or r.id.startswith(id)]
        assert len(found) == 1, f"{type} {id}: {[r.id for r in found]}"
        return found[0]

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Statements of all identities' policies, with where they are."""
        for resource in self.resources("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            for statement in resource.properties["PolicyDocument"]["Statement"]:
                yield f"{resource.stack}/{resource.id}", statement
        for resource in self.resources("AWS::IAM::Role"):
            for policy in resource.properties.get("Policies", []):
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield f"{resource.stack}/{resource.id}", statement

    def statements_of(self, role: str) -> list[dict[str, Any]]:
        """What the policies attached to a role allow, without those inside the role."""
        return [
            statement
            for policy in self.resources("AWS::IAM::Policy")
            if {"Ref": role} in policy.properties["Roles"]
            for statement in policy.properties["PolicyDocument"]["Statement"]
        ]


def read(environment: str, folder: Path) -> Templates:
    """The templates that were synthesised into a folder."""
    prefix, suffix = f"vireo-{environment}-", ".template.json"
    found = {
        path.name.removeprefix(prefix).removesuffix(suffix): json.loads(path.read_text())
        for path in sorted(folder.glob(f"{prefix}*{suffix}"))
    }
    return Templates(environment, folder, found)


def as_list(value: Any) -> list[Any]:
    """CloudFormation writes a list of one as its item."""
    return value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """A value as a text that is the same wherever it is used; imports are named by their export."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{text(name)}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(text(part) for part in parts)
        case _:
            return json.dumps(value)
