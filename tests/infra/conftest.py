"""One stack, deployed once for all tests of it, and roles that stand for the platform and for an intruder."""

import pytest
from deployed_stack import PLATFORM_ROLE, Stack, StrictMinistack, expanded


@pytest.fixture(scope="session")
def template():
    return expanded()


@pytest.fixture(scope="session")
def stack():
    with StrictMinistack() as server:
        made = Stack(server).deploy()
        made.make_role(PLATFORM_ROLE, managed=[made.outputs["ProducerPolicy"]])
        made.make_role("pipeline-consumer", managed=[made.outputs["PipelineConsumerPolicy"]])
        made.make_role("safety-consumer", managed=[made.outputs["SafetyConsumerPolicy"]])
        everything = {"Effect": "Allow", "Action": ["s3:*", "sqs:*", "sns:*", "kms:*"], "Resource": "*"}
        made.make_role("administrator", statements=[everything])
        yield made
