"""The Lambda handler of the recommender's API."""

from __future__ import annotations

import gc

gc.disable()  # it takes a seventh of the imports' time, and finds no garbage

from recommend.app import build  # noqa: E402 - with the collector off
from vireo.homes import aws  # noqa: E402 - likewise

gc.enable()
home = aws.home()
handler = home.handler(build(home, home.settings.bundles()).resolve)
