"""The Lambda handler of every state of training."""

from __future__ import annotations

from vireo.homes import aws
from vireo.jobs.task import task
from vireo.training.steps import TRAINING

home = aws.home()
handler = home.handler(task(home, TRAINING))
