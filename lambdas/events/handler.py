"""The Lambda handler of the events API."""

from __future__ import annotations

from events.app import build
from vireo.homes import aws

home = aws.home()
handler = home.handler(build(home, home.settings.viewer_events).resolve)
