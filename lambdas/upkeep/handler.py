"""The Lambda handler of EventBridge's schedules."""

from __future__ import annotations

from upkeep.app import keeper
from vireo.homes import aws

home = aws.home()
handler = home.handler(keeper(home))
