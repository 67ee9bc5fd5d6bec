"""What Firehose calls with what it is about to write."""

from __future__ import annotations

from delivery.app import transform

handler = transform
