"""What Lambda calls for every state of training."""

from training.task import task
from vireo.homes import aws

handler = aws.home().handler(task(aws.home()))
