"""Accepted findings of cdk-nag: each is accepted in the code that causes it, with a reason."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, rule: str, reason: str, *findings: str) -> None:
    """Accept the findings of an AwsSolutions rule in a construct and all below it.

    Args:
        construct: the subject of the finding.
        rule: its name without the prefix, such as ``IAM5``.
        reason: why the finding is intended.
        findings: for rules with several findings, those that are accepted.
    """
    names = [f"{rule}[{finding}]" for finding in findings] or [rule]
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{n}", reason=reason) for n in names)
    )
