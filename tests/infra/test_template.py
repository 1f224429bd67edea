"""What the template promises, read off the template itself: every queue, bucket, role and alarm of it."""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from deployed_stack import ACCOUNT, PARAMETERS, PATH, REGION, as_list, ours, written
from rights import ACTING, INCOMING, RIGHTS, granted

from coverguard.aws import heads

pytestmark = pytest.mark.thorough  # cfn-lint, which reads the template, takes seconds to load

ROOT = Path(__file__).parents[2]
CREATE_LIMIT = 51_200  # bytes of a template that is sent with the call
STACK = {"NamePrefix": "coverguard", **PARAMETERS, "ObjectEvents": "intake-and-public", "PeopleArn": ""}
ANYBODY = {"*"}

# A deny may be as wide as it likes. Of what is allowed, these alone have a wildcard, each for a reason.
WILD_RESOURCES = {
    "VaultKey": "a key policy has no other resource than its own key",
}


def document_of(properties):
    return properties.get("PolicyDocument") or properties.get("KeyPolicy") or {}


def statements(template):
    """Yield (name, type, statement) of each policy in the template; a condition's other branch is nothing."""
    for name, one in template["Resources"].items():
        for statement in as_list(document_of(one["Properties"]).get("Statement", [])):
            yield name, one["Type"], statement.get("Fn::If", [None, statement])[1]


def resolved(template, value):
    """Resolve a Ref, GetAtt, Sub or If of the template to the string that it becomes."""
    if isinstance(value, str):
        return value
    ((how, what),) = value.items()
    if how == "Ref":
        return reference(template, what)
    if how == "Fn::GetAtt":
        return attribute(template, *what)
    if how == "Fn::If":
        return resolved(template, what[1])
    assert how == "Fn::Sub", how
    text, given = what if isinstance(what, list) else (what, {})
    names = {key: resolved(template, one) for key, one in given.items()}

    def replace(found):
        name = found[1]
        if name in names:
            return names[name]
        return attribute(template, *name.split(".")) if "." in name else reference(template, name)

    return re.sub(r"\$\{([^}]+)\}", replace, text)


def reference(template, name):
    known = {"AWS::Partition": "aws", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION} | STACK
    if name in known:
        return known[name]
    if template["Resources"][name]["Type"] == "AWS::SNS::Topic":
        return f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}"
    return name


def attribute(template, name, what):
    one = template["Resources"][name]
    properties = one["Properties"]
    match one["Type"], what:
        case "AWS::SQS::Queue", "Arn":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{resolved(template, properties['QueueName'])}"
        case "AWS::SQS::Queue", "QueueName":
            return resolved(template, properties["QueueName"])
        case "AWS::S3::Bucket", "Arn":
            return f"arn:aws:s3:::{resolved(template, properties['BucketName'])}"
        case "AWS::IAM::Role", "Arn":
            return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        case _:
            return f"{name}.{what}"


def place_of(arn):
    """Return the word for a place (`rights.py`) of an ARN of this stack."""
    name = arn.rsplit(":", 1)[-1].removeprefix("coverguard-")
    if ":s3:" in arn:
        bucket, _, objects = name.partition("/")
        return bucket.partition(f"-{ACCOUNT}")[0] + (f"/{objects}" if objects else "")
    if ":cloudfront:" in arn:
        return "distribution"
    return {"Alarms": "alarms"}.get(name, name)


def queues(template):
    """Return (those that people and processes use, dead-letter queues)."""
    found = ours(template, "AWS::SQS::Queue")
    dead = {name for one in found.values() if (name := target(one))}
    return {name: one for name, one in found.items() if name not in dead}, {
        name: found[name] for name in dead
    }


def target(queue):
    arn = queue.get("RedrivePolicy", {}).get("deadLetterTargetArn")
    return arn and arn["Fn::GetAtt"][0]


def policies_for(template, kind, key, name):
    """Yield the statements of the resource policies of one queue, bucket or topic."""
    for properties in ours(template, kind).values():
        if {"Ref": name} in as_list(properties[key]):
            yield from (one.get("Fn::If", [None, one])[1] for one in document_of(properties)["Statement"])


# ── as a whole ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_linter_has_nothing_to_say():
    program = Path(sys.prefix) / "bin" / "cfn-lint"
    done = subprocess.run([program, "-r", REGION, "--", PATH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_can_be_sent_with_the_call():
    assert PATH.stat().st_size < CREATE_LIMIT
    assert len(json.dumps(written())) < CREATE_LIMIT


def test_every_parameter_has_a_default_or_says_why_not(template):
    without = {name for name, one in template["Parameters"].items() if "Default" not in one}
    assert without == {"PublicUrl"}  # nobody but the platform knows it, and a wrong one says "gone"
    for one in template["Parameters"].values():
        assert one["Description"]
        bounded = {"AllowedPattern", "AllowedValues", "MinValue"} & set(one)
        assert bounded


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("PublicUrl", "https://covers.example.org/a/{key}?x=1", "https://covers.example.org/"),
        ("PublicUrl", "http://10.0.0.1/{bucket}-{key}".replace("{bucket}-", ""), "{key}"),
        ("DatabaseUrl", "postgresql+psycopg://me@db:5432/x", "postgresql://me:secret@db/x"),
        ("DatabaseUrl", "", "sqlite:///x"),
        ("PlatformRoleArn", "arn:aws:iam::123456789012:role/upload-*", "*"),
        ("PeopleArn", "arn:aws:iam::123456789012:role/moderators", "*"),
        ("MachinesArn", "arn:aws:iam::123456789012:user/host", "*"),
        ("NamePrefix", "coverguard-2", "Coverguard"),
        ("LoadBalancerSecurityGroupId", "sg-0123456789abcdef0", "0.0.0.0/0"),
        ("PlatformSecurityGroupId", "sg-01234567", "pl-01234567"),
    ],
)
def test_parameters_take_what_makes_sense_and_nothing_else(template, name, good, bad):
    pattern = template["Parameters"][name]["AllowedPattern"]
    assert re.search(pattern, good)
    assert not re.search(pattern, bad)


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_queue_has_a_dead_letter_queue_of_its_own(template):
    used, dead = queues(template)
    assert len(used) == len(dead) == 6
    for name, one in used.items():
        assert int(one["RedrivePolicy"]["maxReceiveCount"]) == 5
        (source,) = dead[target(one)]["RedriveAllowPolicy"]["sourceQueueArns"]
        assert resolved(template, source) == attribute(template, name, "Arn")


def test_a_dead_letter_outlives_its_queue(template):
    """A message keeps its first date when it moves: somebody needs days to look at it all the same."""
    used, dead = queues(template)
    for one in used.values():
        kept, kept_dead = one["MessageRetentionPeriod"], dead[target(one)]["MessageRetentionPeriod"]
        assert kept_dead == 14 * 86_400
        assert kept_dead - kept >= 4 * 86_400


def test_every_queue_is_encrypted_and_refuses_plain_http_and_strangers(template):
    for name, one in ours(template, "AWS::SQS::Queue").items():
        assert one["SqsManagedSseEnabled"] is True
        rules = [*policies_for(template, "AWS::SQS::QueuePolicy", "Queues", name)]
        assert refuses_plain_http(rules, {"Fn::GetAtt": [name, "Arn"]})
        (senders,) = [rule for rule in rules if rule["Sid"] == "OnlyOurSenders"]
        assert (senders["Effect"], senders["Principal"], senders["Action"]) == (
            "Deny",
            "*",
            "sqs:SendMessage",
        )
        assert senders["Resource"] == {"Fn::GetAtt": [name, "Arn"]}


def test_who_may_send_is_who_has_a_right_to(template):
    """The queue's own list of senders and the roles' rights say the same, from two sides."""
    for name in queues(template)[0]:
        place = place_of(attribute(template, name, "Arn"))
        rules = policies_for(template, "AWS::SQS::QueuePolicy", "Queues", name)
        (senders,) = [
            rule["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
            for rule in rules
            if "ArnNotLike" in rule.get("Condition", {})
        ]
        named = {resolved(template, one).rpartition("/")[2].removesuffix("Role") for one in senders}
        assert named == {who for who in RIGHTS if ("sqs:SendMessage", place) in granted(who)}


def test_only_our_buckets_may_announce_and_only_uploads(template):
    allowed = [
        (name, rule) for name, kind, rule in statements(template)
        if kind == "AWS::SQS::QueuePolicy" and rule["Effect"] == "Allow"
    ]  # fmt: skip
    ((name, rule),) = allowed
    assert name == "UploadsPolicy"
    assert rule["Principal"] == {"Service": "s3.amazonaws.com"}
    named = {resolved(template, one) for one in rule["Condition"]["ArnEquals"]["aws:SourceArn"]}
    announcing = {
        attribute(template, bucket, "Arn")
        for bucket, one in ours(template, "AWS::S3::Bucket").items() if "NotificationConfiguration" in one
    }  # fmt: skip
    assert named == announcing
    assert len(announcing) == 2


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_bucket_is_versioned_encrypted_blocked_owned_and_outlives_the_stack(template):
    for name, one in ours(template, "AWS::S3::Bucket").items():
        assert one["VersioningConfiguration"] == {"Status": "Enabled"}
        assert one["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert [*one["PublicAccessBlockConfiguration"].values()] == [True] * 4
        assert one["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        whole = template["Resources"][name]
        assert (whole["DeletionPolicy"], whole["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_every_bucket_refuses_plain_http(template):
    for name in ours(template, "AWS::S3::Bucket"):
        rules = policies_for(template, "AWS::S3::BucketPolicy", "Bucket", name)
        assert refuses_plain_http(rules, [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}])


def refuses_plain_http(rules, resource):
    return any(
        rule["Effect"] == "Deny"
        and rule["Principal"] == "*"
        and rule["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and rule["Resource"] == resource
        for rule in rules
    )


def test_a_life_cycle_waits_longer_than_anybody_may_take(template):
    """A blocked version is noncurrent. Where it has no copy in the vault, its life-cycle is its end."""
    days = template["Parameters"]["NoncurrentDays"]
    assert days["MinValue"] > 365
    for name in ("IntakeBucket", "PublicBucket"):
        rules = ours(template, "AWS::S3::Bucket")[name]["LifecycleConfiguration"]["Rules"]
        ends = [
            rule["NoncurrentVersionExpiration"] for rule in rules if "NoncurrentVersionExpiration" in rule
        ]
        assert ends == [{"NoncurrentDays": {"Ref": "NoncurrentDays"}}]
        assert not [rule for rule in rules if "ExpirationInDays" in rule]


def test_nothing_in_the_vault_or_of_the_heads_expires(template):
    buckets = ours(template, "AWS::S3::Bucket")
    assert "LifecycleConfiguration" not in buckets["HeadsBucket"]
    for rule in buckets["VaultBucket"]["LifecycleConfiguration"]["Rules"]:
        assert "ExpirationInDays" not in rule
        assert rule.get("Prefix") == "blocks/" or "NoncurrentVersionExpiration" not in rule


def test_vault_and_heads_are_locked(template):
    buckets = ours(template, "AWS::S3::Bucket")
    locked = {name for name, one in buckets.items() if one.get("ObjectLockEnabled")}
    assert locked == {"VaultBucket", "HeadsBucket"}
    # each copy is locked by its own call; a default would lock the notes of blocks
    assert "ObjectLockConfiguration" not in buckets["VaultBucket"]
    default = buckets["HeadsBucket"]["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert default == {"Mode": "COMPLIANCE", "Days": heads.RETENTION.days}


@pytest.mark.parametrize("bucket", ["VaultBucket", "HeadsBucket"])
def test_nobody_at_all_may_destroy_evidence(template, bucket):
    wanted = {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"}
    refused = [
        rule for rule in policies_for(template, "AWS::S3::BucketPolicy", "Bucket", bucket)
        if wanted <= {*as_list(rule["Action"])}
    ]  # fmt: skip
    (rule,) = refused
    assert (rule["Effect"], rule["Principal"]) == ("Deny", "*")
    assert "Condition" not in rule
    assert rule["Resource"] == {"Fn::Sub": f"${{{bucket}.Arn}}/*"}


def test_a_legal_hold_is_only_ever_set(template):
    rules = policies_for(template, "AWS::S3::BucketPolicy", "Bucket", "VaultBucket")
    (rule,) = [one for one in rules if one["Action"] == "s3:PutObjectLegalHold"]
    assert rule["Effect"] == "Deny"
    assert rule["Condition"] == {"StringNotEquals": {"s3:object-lock-legal-hold": "ON"}}


def test_the_public_bucket_is_read_by_one_distribution_and_by_version_by_none(template):
    rules = policies_for(template, "AWS::S3::BucketPolicy", "Bucket", "PublicBucket")
    (rule,) = [one for one in rules if one["Effect"] == "Allow"]
    assert (rule["Principal"], rule["Action"]) == ({"Service": "cloudfront.amazonaws.com"}, "s3:GetObject")
    assert resolved(template, rule["Condition"]["StringEquals"]["aws:SourceArn"]).endswith(
        f"distribution/{PARAMETERS['CloudFrontDistributionId']}"
    )


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_used_through_s3_by_those_who_act_and_cannot_be_scheduled_away(template):
    (key,) = ours(template, "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    administers, uses = key["KeyPolicy"]["Statement"]
    assert not {"kms:*", "kms:Decrypt", "kms:Encrypt", "kms:ScheduleKeyDeletion"} & {*administers["Action"]}
    assert not [one for one in administers["Action"] if "*" in one]
    assert uses["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    who = {
        resolved(template, one).rpartition("/")[2].removesuffix("Role") for one in uses["Principal"]["AWS"]
    }
    assert who == {name for name in RIGHTS if ("s3:PutObject", "vault/*") in granted(name)}
    assert (
        resolved(template, uses["Condition"]["StringEquals"]["kms:ViaService"])
        == f"s3.{REGION}.amazonaws.com"
    )
    (name,) = ours(template, "AWS::KMS::Key")
    assert template["Resources"][name]["DeletionPolicy"] == "Retain"


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────


def allowed_in(template):
    """Return {role: {(action, place)}} as the managed policies have it."""
    rights = {name.removesuffix("Role"): set() for name in ours(template, "AWS::IAM::Role")}
    own = {"ProducerPolicy": "platform-pipeline"}
    own |= {"PipelineConsumerPolicy": "pipeline-consumer", "SafetyConsumerPolicy": "safety-consumer"}
    for name, one in ours(template, "AWS::IAM::ManagedPolicy").items():
        for who in [role["Ref"].removesuffix("Role") for role in one.get("Roles", [])] or [own[name]]:
            for rule in document_of(one)["Statement"]:
                assert rule["Effect"] == "Allow"
                arns = [resolved(template, arn) for arn in as_list(rule["Resource"])]
                pairs = {(action, place_of(arn)) for action in as_list(rule["Action"]) for arn in arns}
                rights.setdefault(who, set()).update(pairs)
    return rights


def test_each_role_has_the_rights_it_has_a_reason_for_and_no_other(template):
    assert allowed_in(template) == {who: granted(who) for who in RIGHTS}


def test_roles_have_no_rights_but_those_policies(template):
    for one in ours(template, "AWS::IAM::Role").values():
        assert not {"Policies", "ManagedPolicyArns"} & set(one)
    assert not [
        one for one in template["Resources"].values() if one["Type"] in {"AWS::IAM::Policy", "AWS::IAM::User"}
    ]


def test_nothing_is_allowed_with_a_wildcard(template):
    for name, _, rule in statements(template):
        if rule["Effect"] == "Allow":
            assert not [action for action in as_list(rule["Action"]) if "*" in action], name
            wild = [one for one in as_list(rule["Resource"]) if one == "*"]
            assert not wild or name in WILD_RESOURCES, name
            assert rule.get("Principal") != "*", name


SHARED_ON_PURPOSE = {
    **{name: {"sqs:SendMessage"} for name in INCOMING},  # the worker's retries, the redrive, the platform
    "heads/*": {"s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"},  # whoever verifies
    "heads": {"s3:GetBucketObjectLockConfiguration"},
}


def test_the_roles_differ_by_what_only_they_do(template):
    """Sharing is for acts. Who serves does not tell, who tells does not serve, who audits does not act."""
    rights = allowed_in(template)
    shared = {
        (action, place) for places, actions, _ in ACTING for action in actions for place in places.split()
    }
    harmless = {"sqs:GetQueueAttributes", "sqs:GetQueueUrl", "s3:ListBucket", "s3:ListBucketVersions"}
    for one, other in combinations(rights, 2):
        both = {pair for pair in (rights[one] & rights[other]) - shared if pair[0] not in harmless}
        assert {pair for pair in both if pair[0] not in SHARED_ON_PURPOSE.get(pair[1], ())} == set(), (
            one,
            other,
        )


def test_who_may_take_a_role(template):
    for name, one in ours(template, "AWS::IAM::Role").items():
        for rule in one["AssumeRolePolicyDocument"]["Statement"]:
            chosen = rule.get("Fn::If", [None, rule])[1]
            assert chosen["Action"] == "sts:AssumeRole"
            assert chosen["Principal"] not in ("*", {"AWS": "*"})
        services = [
            r for r in one["AssumeRolePolicyDocument"]["Statement"] if "Service" in r.get("Principal", ())
        ]
        assert bool(services) == (name not in {"OperatorRole", "AuditorRole"})  # people are no machines


def test_the_web_processes_reach_one_queue_and_nothing_else(template):
    """Not even the other queue that the platform sends to: nobody terminates an account through a form."""
    rights = allowed_in(template)
    for who in ("WebPublic", "WebPlatform"):
        assert rights[who] == {("sqs:SendMessage", "reports")}
        named = {
            name for name, one in template["Resources"].items()
            if f'"{who}Role"' in json.dumps(one["Properties"])
        }  # fmt: skip
        assert named == {"WebPolicy", "ReportsPolicy", f"{who}Instance"}


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_queue_has_an_alarm_for_what_waits_and_for_what_is_dead(template):
    used, dead = queues(template)
    watched = {}
    for one in ours(template, "AWS::CloudWatch::Alarm").values():
        for dimension in one.get("Dimensions", []):
            watched.setdefault(one["MetricName"], set()).add(dimension["Value"]["Fn::GetAtt"][0])
    assert watched["ApproximateAgeOfOldestMessage"] == set(used)
    assert watched["ApproximateNumberOfMessagesVisible"] == set(dead)


def test_every_alarm_calls_somebody_and_says_what_to_read(template):
    for name, one in ours(template, "AWS::CloudWatch::Alarm").items():
        assert one["AlarmActions"] == one["OKActions"] == [{"Ref": "Alarms"}]
        assert one["TreatMissingData"] == ("breaching" if name == "WorkersSilentAlarm" else "notBreaching")
        (page,) = re.findall(r"docs/runbooks/[a-z_]+\.md", resolved(template, one["AlarmDescription"]))
        assert (ROOT / page).is_file()
