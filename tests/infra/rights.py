"""Who may do what, and why: the whole of it. What is not here is refused.

A place is a queue's name, a topic, a bucket, or a bucket's objects (`vault/*`).
"""

from itertools import product

INCOMING = ("uploads", "account-events", "reports", "sweep-shards")
OUTGOING = ("pipeline", "safety")
DEAD = tuple(f"{name}-dead" for name in INCOMING)
OUTGOING_DEAD = tuple(f"{name}-dead" for name in OUTGOING)
QUEUES = (*INCOMING, *OUTGOING, *DEAD, *OUTGOING_DEAD)
COVERS = ("intake/*", "public/*")
READ = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectVersionTagging")
LOCKS = ("s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:PutObjectLegalHold", "s3:PutObjectRetention")
LIST = ("s3:ListBucket", "s3:ListBucketVersions")
LOCKED = "s3:GetBucketObjectLockConfiguration"
CONSUME = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")

ACTING = (
    ("intake public vault", ["s3:GetBucketVersioning"], "no start where a block would destroy"),
    ("vault", [LOCKED], "no start where evidence is not locked"),
    ("intake public vault", LIST, "find versions; without it a missing key is a refusal, not a missing key"),
    ("intake/* public/*", READ, "screen exactly the version that was announced, with its tags"),
    ("intake/* public/*", ["s3:DeleteObject"], "a block is a delete marker on top"),
    ("intake/* public/*", ["s3:DeleteObjectVersion"], "a release takes our own marker away again"),
    ("intake/* public/*", ["s3:PutObject", "s3:PutObjectTagging"], "a release may put the vault's copy back"),
    ("vault/*", READ, "a copy counts when it was read back; notes of blocks lie there too"),
    ("vault/*", ["s3:PutObject", "s3:PutObjectTagging"], "copies and notes"),
    ("vault/*", LOCKS, "legal hold and retention on each copy"),
    (
        "distribution",
        ["cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"],
        "gone includes the CDN's copies",
    ),
)

RIGHTS = {
    "Worker": (
        *ACTING,
        (" ".join(INCOMING), CONSUME, "serve"),
        (" ".join(INCOMING), ["sqs:SendMessage"], "what is to be tried again later is sent again"),
        (" ".join(DEAD), ["sqs:SendMessage"], "what makes no sense is put aside"),
        (" ".join(DEAD), ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"], "find the dead-letter queue"),
    ),
    "Keeper": (
        *ACTING,
        ("uploads", ["sqs:SendMessage"], "a cover without an answer is announced again"),
        (
            " ".join((*INCOMING, *DEAD)),
            ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"],
            "ring for dead letters and waiting ones",
        ),
        (" ".join(OUTGOING), ["sqs:SendMessage", "sqs:GetQueueAttributes"], "relay the outbox"),
        ("alarms", ["sns:Publish"], "page people"),
        ("heads/*", ["s3:PutObject", "s3:PutObjectRetention"], "archive signed heads, locked"),
        ("heads/*", ["s3:GetObject", "s3:GetObjectVersion"], "a head that is there already is compared"),
        ("heads", [*LIST, LOCKED], "how far is it archived, and does it lock?"),
    ),
    "Importer": (),  # the database, and exchanges that are not AWS's
    "Migrator": (),  # the database and nothing else
    "WebPublic": (("reports", ["sqs:SendMessage"], "a receipt is signed when the queue has the report"),),
    "WebPlatform": (("reports", ["sqs:SendMessage"], "the same; hiding goes to the ledger, not to AWS"),),
    "Operator": (
        *ACTING,
        (" ".join(DEAD), [*CONSUME, "sqs:GetQueueUrl"], "redrive takes dead letters"),
        (" ".join(INCOMING), ["sqs:SendMessage", "sqs:GetQueueAttributes"], "and puts them back"),
        (" ".join(OUTGOING), ["sqs:GetQueueAttributes"], "does the platform take its verdicts?"),
        ("heads/*", ["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"], "verify audit"),
        ("heads", [*LIST, LOCKED], "verify audit"),
    ),
    "Auditor": (
        ("heads/*", ["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"], "verify audit"),
        ("heads", [*LIST, LOCKED], "verify audit"),
    ),
    "platform-pipeline": (
        ("uploads account-events reports", ["sqs:SendMessage"], "announce"),
        ("intake/* public/*", ["s3:PutObject", "s3:PutObjectTagging"], "store uploads, publish"),
        ("intake/* public/*", ["s3:DeleteObject"], "take down by itself: a marker, versions stay"),
        ("intake/*", ["s3:GetObject", "s3:GetObjectVersion"], "publish the very version that was cleared"),
    ),
    "pipeline-consumer": (("pipeline pipeline-dead", CONSUME, "take verdicts"),),
    "safety-consumer": (("safety safety-dead", CONSUME, "take causes"),),
}


def granted(who):
    """Return the (action, place) pairs that somebody has a right to."""
    return {pair for places, actions, why in RIGHTS[who] if why for pair in product(actions, places.split())}
