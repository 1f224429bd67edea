"""The one place where boto3 clients are made, and where their errors get a meaning.

Endpoints, region and credentials are boto3's own affair: `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL_S3`,
`AWS_ACCESS_KEY_ID`, an instance's role. Every call ends: a server that is silent is an error, not a wait.
Clients may be shared between threads; sessions may not, so each client gets its own. This module names no
bucket, queue or topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ResponseStreamingError,
)

from coverguard import __version__
from coverguard.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from mypy_boto3_cloudfront.client import CloudFrontClient
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sts.client import STSClient

FOREIGN: Final = (BotoCoreError, ClientError, Boto3Error)  # everything that the libraries raise at run time
CONNECTIONS: Final = 16
CONNECT_TIMEOUT: Final = 5.0  # seconds
READ_TIMEOUT: Final = 20.0
LONGEST_POLL: Final = 20  # seconds; SQS's limit
NO_CONTENT: Final = 204  # the status
ATTEMPTS: Final = 3  # the client's own, within one call, with jitter

# What no later call can mend: somebody must change the deployment.
_MISCONFIGURED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "KmsAccessDenied",
        "NoSuchBucket",
        "NotFound",
        "NotFoundException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "InvalidAddress",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)


def s3(*, connections: int = CONNECTIONS, **caller: str) -> S3Client:
    """Make a client of S3, or of what speaks like it. `caller` is for tests: see `_make`."""
    # Without a word botocore signs links of the oldest region in the old way.
    made: S3Client = _make("s3", _config(connections, signature_version="s3v4"), caller)
    return made


def sqs(*, connections: int = CONNECTIONS, **caller: str) -> SQSClient:
    """Make a client of SQS that outlasts its longest poll."""
    made: SQSClient = _make("sqs", _config(connections, read_timeout=LONGEST_POLL + READ_TIMEOUT), caller)
    return made


def sns(*, connections: int = CONNECTIONS, **caller: str) -> SNSClient:
    made: SNSClient = _make("sns", _config(connections), caller)
    return made


def cloudfront(*, connections: int = CONNECTIONS, **caller: str) -> CloudFrontClient:
    made: CloudFrontClient = _make("cloudfront", _config(connections), caller)
    return made


def kms(*, connections: int = CONNECTIONS, **caller: str) -> KMSClient:
    made: KMSClient = _make("kms", _config(connections), caller)
    return made


def sts(*, connections: int = CONNECTIONS, **caller: str) -> STSClient:
    made: STSClient = _make("sts", _config(connections), caller)
    return made


def code_of(error: BaseException) -> str:
    """Return the service's own code for an error, such as `NoSuchKey`; nothing if it did not come to that."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of a service's error answer, or 0."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


@contextmanager
def transient(what: str) -> Iterator[None]:
    """Translate every error of the libraries into `TransientError`: at run time the outside may recover.

    `what` names the act ("receive from SQS"), never a value. The message carries the service's code alone.
    """
    try:
        yield
    except FOREIGN as error:
        raise TransientError(f"cannot {what}: {_named(error)}") from error


@contextmanager
def at_start(what: str) -> Iterator[None]:
    """As `transient`, but what somebody must put right in the deployment is a `ConfigurationError`."""
    try:
        yield
    except FOREIGN as error:
        message = f"cannot {what}: {_named(error)}"
        if code_of(error) in _MISCONFIGURED or isinstance(error, NoCredentialsError | NoRegionError):
            raise ConfigurationError(message) from error
        raise TransientError(message) from error


def _named(error: BaseException) -> str:
    return code_of(error) or type(error).__name__


def _config(
    connections: int, *, read_timeout: float = READ_TIMEOUT, signature_version: str | None = None
) -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        signature_version=signature_version,
        tcp_keepalive=True,
        # Whose calls they are, for the service's log; the library's own words are made anew for each call.
        user_agent=f"coverguard/{__version__}",
    )


def _make(service: Any, config: Config, caller: dict[str, str]) -> Any:  # noqa: ANN401 - boto3 types by name
    """Make a client in a session of its own.

    `caller` may hold `endpoint_url`, `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token` and
    `region_name`, for tests of several callers in one process; whoever serves leaves them to the environment.
    """
    with at_start(f"make a client of {service}"):
        chosen: dict[str, Any] = dict(caller)
        client = boto3.session.Session().client(service, config=config, **chosen)
    client.meta.events.register_last("before-call", _expect_nothing)
    client.meta.events.register("before-parse", _require_whole)
    return client


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    """Send the body with the head instead of waiting for `100 Continue`.

    The library reads that answer's head until an empty line; where the connection ends before, it reads for
    ever, and no time limit holds. Our bodies are small.
    """
    params["headers"].pop("Expect", None)


def _require_whole(response_dict: dict[str, Any], **_: object) -> None:
    """Refuse an answer whose head was cut off: to the libraries it is a success that says nothing.

    An empty list of versions, or no failure in a batch, must be the service's own word. Every answer of AWS
    with a body tells its length, and the libraries see to it that a body with a length is whole.

    Raises:
        ResponseStreamingError: it tells no length.
    """
    headers = response_dict["headers"]
    told = "content-length" in headers or "transfer-encoding" in headers
    if not told and response_dict["status_code"] != NO_CONTENT:
        raise ResponseStreamingError(error="the answer's head is not whole")
