"""cdk-nag's findings that are meant to be: each is accepted where it is, with a reason."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, rule: str, reason: str, *findings: str) -> None:
    """Accept what a rule of AwsSolutions finds in a construct and all below it.

    Args:
        construct: what the rule complains of.
        rule: its name without the prefix, such as ``IAM5``.
        reason: why it is meant to be.
        findings: for rules that tell several findings apart, those that are accepted.
    """
    names = [f"{rule}[{finding}]" for finding in findings] or [rule]
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{n}", reason=reason) for n in names)
    )
