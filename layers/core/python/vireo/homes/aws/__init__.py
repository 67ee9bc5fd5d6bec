"""The home in AWS: DynamoDB, S3, ElastiCache, Kinesis and Step Functions."""

from vireo.homes.aws.home import AwsHome, home

__all__ = ["AwsHome", "home"]
