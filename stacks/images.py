"""Images for functions with heavy libraries, built in the account: deploying needs no docker."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk.aws_logs import ILogGroup
from constructs import Construct

from stacks.checks import accept
from stacks.environments import Environment
from stacks.functions import log_group
from stacks.packages import Packages

#: CodeBuild's build specification, within the source; it reads REPOSITORY_URI and IMAGE_TAG.
BUILDSPEC = "lambdas/training/buildspec.yml"
#: Push an image, but for the layers that are there; pull the base that it is made of.
PUSH_AND_PULL = [
    f"ecr:{action}"
    for action in (
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "CompleteLayerUpload",
        "GetDownloadUrlForLayer",
        "InitiateLayerUpload",
        "PutImage",
        "UploadLayerPart",
    )
]


class ImagesStack(Stack):
    """A repository, and a project on ARM that builds `lambdas/training/Dockerfile` into it.

    An image is tagged with the hash of what it was built from, unless a tag is given, so a template
    always names the image that belongs to it, and an image that is there need not be built again.
    The base is pulled once, and kept in the same repository, whose tags cannot be moved.
    Deployed, and its build run, before the stacks that need the image.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        packages: Packages,
        tag: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.repository = ecr.Repository(
            self,
            "Training",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            lifecycle_rules=[
                ecr.LifecycleRule(
                    description="untagged: a build that failed half-way",
                    tag_status=ecr.TagStatus.UNTAGGED,
                    max_image_age=Duration.days(1),
                    rule_priority=1,
                ),
                ecr.LifecycleRule(
                    description="what images are made of; no later rule takes it away",
                    tag_status=ecr.TagStatus.TAGGED,
                    tag_prefix_list=["base-"],
                    max_image_count=3,
                    rule_priority=2,
                ),
                ecr.LifecycleRule(
                    description="enough to go back to", max_image_count=10, rule_priority=3
                ),
            ],
            empty_on_delete=True,  # images can be built again
            removal_policy=RemovalPolicy.DESTROY,
        )
        source = packages.image(self)
        self.tag = tag or source.asset_hash
        logs = log_group(self, "BuildLogs", environment)
        project = codebuild.Project(
            self,
            "Build",
            description="The training image",
            source=codebuild.Source.s3(bucket=source.bucket, path=source.s3_object_key),
            build_spec=codebuild.BuildSpec.from_source_filename(BUILDSPEC),
            environment=codebuild.BuildEnvironment(
                build_image=codebuild.LinuxArmBuildImage.AMAZON_LINUX_2023_STANDARD_3_0,
                compute_type=codebuild.ComputeType.LARGE,
                privileged=True,  # building an image needs docker, and docker needs privileges
            ),
            environment_variables={
                "REPOSITORY_URI": codebuild.BuildEnvironmentVariable(
                    value=self.repository.repository_uri
                ),
                "IMAGE_TAG": codebuild.BuildEnvironmentVariable(value=self.tag),
            },
            timeout=Duration.hours(1),
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=logs)
            ),
            role=self._role(source, logs).without_policy_updates(),
        )
        accept(project, "CB4", "It leaves an image in ECR, which is encrypted, and no artifacts.")
        CfnOutput(self, "BuildProject", value=project.project_name)
        CfnOutput(self, "RepositoryName", value=self.repository.repository_name)
        CfnOutput(self, "ImageTag", value=self.tag)

    def _role(self, source: s3_assets.Asset, logs: ILogGroup) -> iam.Role:
        """The role: reads the source, writes the log, and reads and writes the one repository."""
        role = iam.Role(
            self, "BuildRole", assumed_by=iam.ServicePrincipal("codebuild.amazonaws.com")
        )
        for actions, resource in (
            (
                ["s3:GetObject", "s3:GetObjectVersion"],
                source.bucket.arn_for_objects(source.s3_object_key),
            ),
            (["logs:CreateLogStream", "logs:PutLogEvents"], logs.log_group_arn),
            (["ecr:GetAuthorizationToken"], "*"),
            (PUSH_AND_PULL, self.repository.repository_arn),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        accept(role, "IAM5", "A token for ECR has no resource to name.", "Resource::*")
        return role
