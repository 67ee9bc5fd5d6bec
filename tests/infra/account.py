"""An environment's templates as CloudFormation would fill them in: names and ARNs instead of Refs.

Physical names are the logical ids, so that the functions can be run with the environment variables
that the templates give them, and their calls compared with the roles that the templates give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REGION, ACCOUNT = "eu-west-1", "123456789012"
_PSEUDO = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
#: What stands before a resource's name in its ARN.
_ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/",
    "AWS::Kinesis::Stream": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/",
    "AWS::S3::Bucket": "arn:aws:s3:::",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/",
}

Template = Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """What a role may do: action patterns on resource patterns."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """All templates of an environment, by stack."""

    stacks: Mapping[str, Template]

    def variables(self, function: str) -> dict[str, str]:
        """The environment variables of a function, by its logical id."""
        stack, resource = self._one("AWS::Lambda::Function", function)
        found: dict[str, str] = self._value(
            stack, resource["Properties"]["Environment"]["Variables"]
        )
        return found

    def calls_allowed(self, role: str) -> list[Statement]:
        """What our own calls may do: the policies attached to a role, by its logical id."""
        policies = [
            (stack, resource["Properties"])
            for stack, template in self.stacks.items()
            for resource in template["Resources"].values()
            if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
            and {"Ref": role} in resource["Properties"].get("Roles", [])
        ]
        return [
            self._statement(stack, statement)
            for stack, policy in policies
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def properties(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Logical ids and properties of all resources of a type, with all references filled in."""
        return [
            (name, self._value(stack, resource["Properties"]))
            for stack, template in self.stacks.items()
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        ]

    def lambda_allowed(self, role: str) -> dict[str, Statement]:
        """What Lambda itself does with a role, inline and by its Sid."""
        stack, resource = self._one("AWS::IAM::Role", role)
        assert "ManagedPolicyArns" not in resource["Properties"], role
        return {
            statement["Sid"]: self._statement(stack, statement)
            for policy in resource["Properties"].get("Policies", [])
            for statement in policy["PolicyDocument"]["Statement"]
        }

    def functions(self) -> dict[str, str]:
        """Logical ids of our functions, and of the role of each; not those that the CDK adds."""
        return {
            name: resource["Properties"]["Role"]["Fn::GetAtt"][0]
            for template in self.stacks.values()
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::Lambda::Function" and name.endswith("Function")
        }

    def _one(self, kind: str, name: str) -> tuple[str, Any]:
        for stack, template in self.stacks.items():
            resource = template["Resources"].get(name)
            if resource is not None and resource["Type"] == kind:
                return stack, resource
        raise KeyError(name)

    def _statement(self, stack: str, statement: Mapping[str, Any]) -> Statement:
        known = {"Action", "Effect", "Resource", "Sid"}
        assert statement.keys() <= known, f"not understood: {statement}"
        assert statement["Effect"] == "Allow"
        resources = self._value(stack, statement["Resource"])
        return Statement(_several(statement["Action"]), _several(resources))

    def _value(self, stack: str, value: Any) -> Any:
        """A value with all that CloudFormation fills in. Fails for functions not known here."""
        if isinstance(value, list):
            return [self._value(stack, item) for item in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"Ref": _} | {"Fn::GetAtt": _}:
                return self._reference(stack, value)
            case {"Fn::Join": [separator, parts]}:
                return separator.join(str(self._value(stack, part)) for part in parts)
            case {"Fn::ImportValue": name}:
                return self._exported(self._value(stack, name))
        assert not any(key.startswith("Fn::") for key in value), f"not understood: {value}"
        return {key: self._value(stack, item) for key, item in value.items()}

    def _reference(self, stack: str, value: Mapping[str, Any]) -> str:
        if "Ref" in value:
            return _PSEUDO.get(value["Ref"]) or self._name(stack, value["Ref"])
        name, attribute = value["Fn::GetAtt"]
        if attribute != "Arn":
            return f"{name}.{attribute}"
        kind = self.stacks[stack]["Resources"][name]["Type"]
        return _ARNS[kind] + self._name(stack, name)

    def _exported(self, name: str) -> Any:
        for stack, template in self.stacks.items():
            for output in template.get("Outputs", {}).values():
                if self._value(stack, output.get("Export", {}).get("Name")) == name:
                    return self._value(stack, output["Value"])
        raise KeyError(name)

    def _name(self, stack: str, logical_id: str) -> str:
        """A bucket's name has no capitals."""
        kind = self.stacks[stack]["Resources"][logical_id]["Type"]
        return logical_id.lower() if kind == "AWS::S3::Bucket" else logical_id


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
