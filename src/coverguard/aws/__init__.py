"""The production profile's adapters on AWS's protocols: S3, SQS, SNS, CloudFront; the only home of boto3.

Anything that speaks the protocol will do; where it listens and as whom to ask it is boto3's own configuration
(environment, profile, role), never a setting of ours. No exception of boto3 or botocore leaves this package.
"""
