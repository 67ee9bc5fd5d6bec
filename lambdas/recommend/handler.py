"""The recommender in Lambda."""

from __future__ import annotations

from recommend.app import build
from vireo.homes import aws

home = aws.home()
handler = home.handler(build(home).resolve)
