"""The Lambda handler of the stream's batches."""

from __future__ import annotations

from tracking.app import follower
from vireo.homes import aws

home = aws.home()
handler = home.handler(follower(home))
