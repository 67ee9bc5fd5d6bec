"""The Lambda handler of Firehose's transformation."""

from __future__ import annotations

from delivery.app import transform

handler = transform
