"""The template is really deployed, to a server that enforces policies, and asked: events, locks, rights.

Who: every role of the stack, the platform's roles with the policies made for them, and an administrator of
the account with every right of S3, SQS, SNS and KMS. What: every action that any of them has a right to, at
every place of its kind, and those that nobody has. `rights.py` says what is expected; `deployed_stack.py`
says what the server does other than AWS.
"""

import contextlib
import json
import secrets
import time
from datetime import UTC, datetime, timedelta

import pytest
from deployed_stack import BUCKETS, DISTRIBUTION, PROCESSES, ROOT
from rights import QUEUES, RIGHTS, granted

pytestmark = pytest.mark.servers

DESTROYING = ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention")
LOCKED = ("vault", "heads")
RECEIPT = "bm90LWEtcmVjZWlwdA=="


# ── what is there ────────────────────────────────────────────────────────────────────────────────────────


def test_an_object_put_into_a_deployed_bucket_is_an_event_in_the_deployed_queue(stack):
    for bucket in ("intake", "public"):
        key = f"covers/{secrets.token_hex(4)} ü.png"
        version = stack.client("s3").put_object(Bucket=stack.bucket(bucket), Key=key, Body=b"x")["VersionId"]
        assert version in {one["s3"]["object"]["versionId"] for one in taken(stack, until=version)}


def taken(stack, *, until):
    """Take announced objects off the uploads queue until one is of that version, or a while has passed."""
    sqs, url, found = stack.client("sqs"), stack.queue("uploads"), []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and until not in json.dumps(found):
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
            "Messages", []
        ):
            with contextlib.suppress(json.JSONDecodeError):
                found += json.loads(message["Body"]).get("Records", [])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_queues_are_as_written(stack):
    sqs = stack.client("sqs")
    for name in QUEUES:
        read = sqs.get_queue_attributes(QueueUrl=stack.queue(name), AttributeNames=["All"])["Attributes"]
        assert read["SqsManagedSseEnabled"] == "true"
        if name.endswith("-dead"):
            assert read["MessageRetentionPeriod"] == str(14 * 86_400)
        else:
            redrive = json.loads(read["RedrivePolicy"])
            assert redrive["deadLetterTargetArn"].endswith(f"-{name}-dead")
            assert int(redrive["maxReceiveCount"]) == 5


def test_alarms_are_there_and_call_the_topic(stack):
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    assert len(alarms) == 12
    for one in alarms:
        assert one["AlarmActions"] == [stack.outputs["AlarmTopic"]]


# ── who may do what ──────────────────────────────────────────────────────────────────────────────────────


def queue_acts(stack, who, name):
    sqs, url = stack.client("sqs", who), stack.queue(name)
    return {
        "sqs:SendMessage": lambda: sqs.send_message_batch(
            QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "{}"}]
        ),
        "sqs:ReceiveMessage": lambda: sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=0, VisibilityTimeout=0
        ),
        "sqs:DeleteMessage": lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle=RECEIPT),
        "sqs:ChangeMessageVisibility": lambda: sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=RECEIPT, VisibilityTimeout=1
        ),
        "sqs:GetQueueAttributes": lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
        "sqs:GetQueueUrl": lambda: sqs.get_queue_url(QueueName=url.rpartition("/")[2]),
        "sqs:PurgeQueue": lambda: sqs.purge_queue(QueueUrl=url),
        "sqs:DeleteQueue": lambda: sqs.delete_queue(QueueUrl=url),
        "sqs:SetQueueAttributes": lambda: sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"DelaySeconds": "0"}
        ),
    }


def bucket_acts(stack, who, name):
    s3, bucket = stack.client("s3", who), stack.bucket(name)
    everybody = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    return {
        "s3:ListBucket": lambda: s3.list_objects_v2(Bucket=bucket),
        "s3:ListBucketVersions": lambda: s3.list_object_versions(Bucket=bucket),
        "s3:GetBucketVersioning": lambda: s3.get_bucket_versioning(Bucket=bucket),
        "s3:GetBucketObjectLockConfiguration": lambda: s3.get_object_lock_configuration(Bucket=bucket),
        "s3:PutBucketPolicy": lambda: s3.put_bucket_policy(
            Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
        ),
        "s3:PutBucketVersioning": lambda: s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
        ),
        "s3:PutLifecycleConfiguration": lambda: s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": []}
        ),
        "s3:DeleteBucket": lambda: s3.delete_bucket(Bucket=bucket),
    }


def object_acts(stack, who, name):
    s3 = stack.client("s3", who)
    at = {"Bucket": stack.bucket(name), "Key": f"probe-{who}"}
    stack.client("s3").put_object(**at, Body=b"x")
    version = {**at, "VersionId": stack.client("s3").put_object(**at, Body=b"y")["VersionId"]}
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    until = datetime.now(UTC) + timedelta(days=2)  # a shorter lock than there is would be refused, too
    return {
        "s3:GetObject": lambda: s3.get_object(**at),
        "s3:GetObjectVersion": lambda: s3.get_object(**version),
        "s3:GetObjectTagging": lambda: s3.get_object_tagging(**at),
        "s3:GetObjectVersionTagging": lambda: s3.get_object_tagging(**version),
        "s3:PutObject": lambda: s3.put_object(**at, Body=b"z"),
        "s3:PutObjectTagging": lambda: s3.put_object_tagging(**at, Tagging=tags),
        "s3:GetObjectLegalHold": lambda: s3.get_object_legal_hold(**at),
        "s3:GetObjectRetention": lambda: s3.get_object_retention(**at),
        "s3:PutObjectLegalHold": lambda: s3.put_object_legal_hold(**version, LegalHold={"Status": "OFF"}),
        "s3:PutObjectRetention": lambda: s3.put_object_retention(
            **at, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
        ),
        "s3:PutObjectAcl": lambda: s3.put_object_acl(**at, ACL="public-read"),
        "s3:DeleteObject": lambda: s3.delete_object(**at),
        "s3:DeleteObjectVersion": lambda: s3.delete_object(**version),
        "s3:BypassGovernanceRetention": lambda: s3.delete_object(**version, BypassGovernanceRetention=True),
    }


def other_acts(stack, who):
    """Yield (action, place, act) of everything that is no queue and no bucket."""
    cdn, sns, kms, sts = (stack.client(name, who) for name in ("cloudfront", "sns", "kms", "sts"))
    batch = {"Paths": {"Quantity": 1, "Items": ["/x"]}, "CallerReference": "x"}
    yield (
        "cloudfront:CreateInvalidation",
        "distribution",
        lambda: cdn.create_invalidation(DistributionId=DISTRIBUTION, InvalidationBatch=batch),
    )
    yield (
        "cloudfront:GetInvalidation",
        "distribution",
        lambda: cdn.get_invalidation(DistributionId=DISTRIBUTION, Id="I1"),
    )
    yield "sns:Publish", "alarms", lambda: sns.publish(TopicArn=stack.outputs["AlarmTopic"], Message="x")
    key = stack.outputs["VaultKmsKey"]
    yield "kms:Decrypt", "vault-key", lambda: kms.encrypt(KeyId=key, Plaintext=b"x")  # never but through S3
    yield "kms:ScheduleKeyDeletion", "vault-key", lambda: kms.schedule_key_deletion(KeyId=key)
    yield "iam:CreateUser", "account", lambda: stack.client("iam", who).create_user(UserName="x")
    for other in PROCESSES:
        arn = stack.outputs[f"{other}Role"]
        yield "sts:AssumeRole", other, lambda arn=arn: sts.assume_role(RoleArn=arn, RoleSessionName="again")


def acts(stack, who):
    """Yield (action, place, act) of everything that could be tried."""
    for name in QUEUES:
        for action, act in queue_acts(stack, who, name).items():
            yield action, name, act
    for name in BUCKETS:
        for action, act in bucket_acts(stack, who, name).items():
            yield action, name, act
        for action, act in object_acts(stack, who, name).items():
            yield action, f"{name}/*", act
    yield from other_acts(stack, who)


def test_every_right_is_tried(stack):
    tried = {(action, place) for action, place, _ in acts(stack, "Worker")}
    assert {pair for who in RIGHTS for pair in granted(who)} <= tried


@pytest.mark.parametrize("who", RIGHTS)
def test_a_role_can_do_what_it_needs_and_is_refused_everything_else(stack, who):
    asked = {(action, place): stack.allows(act) for action, place, act in acts(stack, who)}
    wrong = {
        pair: "allowed" if yes else "refused" for pair, yes in asked.items() if yes != (pair in granted(who))
    }
    assert not wrong


def test_an_administrator_is_stopped_by_the_resources_themselves(stack):
    """Somebody with every right on S3 and SQS still cannot send a verdict, or read or destroy evidence."""
    tried = {(action, place): act for action, place, act in acts(stack, "administrator")}
    refused = {
        *(("sqs:SendMessage", name) for name in QUEUES),
        *((action, "vault/*") for action in ("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject")),
        *(("s3:DeleteObjectVersion", f"{name}/*") for name in BUCKETS),
        *((action, f"{name}/*") for name in LOCKED for action in DESTROYING),
        ("s3:PutObject", "heads/*"),
        ("kms:Decrypt", "vault-key"),
        ("kms:ScheduleKeyDeletion", "vault-key"),
    }  # fmt: skip
    assert {pair for pair in refused if stack.allows(tried[pair])} == set()
    # the refusals above are no accident of a role that can do nothing
    assert stack.allows(tried["sqs:GetQueueAttributes", "uploads"])
    assert stack.allows(tried["s3:ListBucket", "vault"])


def test_nothing_is_to_be_had_over_plain_http(stack):
    """The server takes the caller's word for the scheme; AWS sees it."""

    def as_plain_http(request, **_):
        request.headers["X-Forwarded-Proto"] = "http"

    s3, sqs = stack.client("s3", "Worker"), stack.client("sqs", "Worker")
    for one in (s3, sqs):
        one.meta.events.register("before-send", as_plain_http)
    try:
        assert not stack.allows(lambda: s3.list_objects_v2(Bucket=stack.bucket("intake")))
        assert not stack.allows(lambda: s3.put_object(Bucket=stack.bucket("vault"), Key="x", Body=b"x"))
        assert not stack.allows(lambda: sqs.receive_message(QueueUrl=stack.queue("uploads")))
    finally:
        for one in (s3, sqs):
            one.meta.events.unregister("before-send", as_plain_http)
    assert stack.allows(lambda: s3.list_objects_v2(Bucket=stack.bucket("intake")))


def test_a_locked_copy_stays(stack):
    """What a worker keeps it cannot destroy, and nobody else can either."""
    s3, at = (
        stack.client("s3", "Worker"),
        {"Bucket": stack.bucket("vault"), "Key": f"hold-{secrets.token_hex(4)}"},
    )
    version = s3.put_object(**at, Body=b"x", ObjectLockLegalHoldStatus="ON")["VersionId"]
    for who in (*PROCESSES, "administrator", "platform-pipeline"):
        client = stack.client("s3", who)
        assert not stack.allows(lambda client=client: client.delete_object(**at, VersionId=version))
        assert not stack.allows(lambda client=client: client.delete_object(**at))
    # the account's root is held by the lock alone on this server; on AWS by the policy as well
    assert not stack.allows(lambda: stack.client("s3").delete_object(**at, VersionId=version))
    assert s3.get_object(**at, VersionId=version)["Body"].read() == b"x"


def test_only_the_vaults_own_key(stack):
    s3, at = (
        stack.client("s3", "Worker"),
        {"Bucket": stack.bucket("vault"), "Key": f"key-{secrets.token_hex(4)}"},
    )
    assert not stack.allows(lambda: s3.put_object(**at, Body=b"x", ServerSideEncryption="AES256"))
    assert stack.allows(lambda: s3.put_object(**at, Body=b"x"))


def test_a_head_is_locked_without_a_word(stack):
    s3, at = (
        stack.client("s3", "Keeper"),
        {"Bucket": stack.bucket("heads"), "Key": f"head-{secrets.token_hex(4)}"},
    )
    version = s3.put_object(**at, Body=b"x")["VersionId"]
    read = stack.client("s3", "Auditor").get_object_retention(**at, VersionId=version)["Retention"]
    assert read["Mode"] == "GOVERNANCE"
    assert not stack.allows(lambda: stack.client("s3").delete_object(**at, VersionId=version))


def test_a_machine_cannot_be_taken_by_somebody_who_is_not_named(stack):
    stack.make_role("stranger")
    sts = stack.client("sts", "stranger")
    for who in PROCESSES:
        assert not stack.allows(
            lambda who=who: sts.assume_role(RoleArn=stack.outputs[f"{who}Role"], RoleSessionName="stranger")
        )
    assert ROOT in json.dumps(
        stack.client("iam").get_role(RoleName=role_name(stack))["Role"]["AssumeRolePolicyDocument"]
    )


def role_name(stack):
    return stack.outputs["WorkerRole"].rpartition("/")[2]
