"""What Lambda calls for every state of training."""

from training.task import task
from vireo.homes import aws

handler = task(aws.home())
