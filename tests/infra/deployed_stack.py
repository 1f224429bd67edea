"""The template as tests see it: expanded for reading, deployed to ministack for asking.

What ministack (1.5.33) does other than AWS, and what is done about it, all in here:

- it takes no metric math: those alarms are left out of the deployment (`without_metric_math`);
- `aws:PrincipalArn` of an assumed role is the session there and the role on AWS: both are named
  (`with_session_arns`);
- it ignores Object Lock, encryption and life-cycles of buckets in a template: the first two are set by calls,
  from the template's own words (`finish`);
- it wants `sqs:SendMessageBatch` by name, which on AWS is `sqs:SendMessage`: both are named, in what is
  allowed and in what is denied (`with_batches`);
- it knows no `s3:object-lock-legal-hold`: the statement that rests on it is left out (`without_lock_keys`);
- it knows no rule that lets one security group into another: the network is judged on the template only;
- it knows no `kms:ViaService`, and S3 does not ask KMS: key use is judged on the template only;
- it does not hold the account's root to an explicit denial: what must bind everybody is asked as an
  administrator's role instead.

TLS is real: policies refuse plain HTTP, so it serves with a certificate of the day.
"""

import datetime as dt
import ipaddress
import json
import ssl
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coverguard.testing.servers import Endpoint, Ministack

PATH = Path(__file__).parents[2] / "infra" / "coverguard.yaml"
REGION = "us-east-1"
SESSION = boto3.session.Session()  # one: what it reads from disk for the first client, it has for the next
ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
PLATFORM_ROLE = "platform-pipeline"
DISTRIBUTION = "E1EXAMPLE0ONLY"
PARAMETERS = {
    "PublicUrl": "https://covers.example.org/{key}",
    "PlatformRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{PLATFORM_ROLE}",
    "CloudFrontDistributionId": DISTRIBUTION,
    "DatabaseUrl": "postgresql://coverguard_worker@db.example.org:5432/coverguard",
    "MachinesArn": ROOT,
}
PROCESSES = ("Worker", "Keeper", "Importer", "Migrator", "WebPublic", "WebPlatform", "Operator", "Auditor")
BUCKETS = ("intake", "public", "vault", "heads")


# ── the template ─────────────────────────────────────────────────────────────────────────────────────────


def written():
    """Return the template as plain data, loops not yet expanded."""
    from cfnlint.decode import cfn_yaml  # noqa: PLC0415 - takes seconds, and every test process loads this

    return json.loads(json.dumps(cfn_yaml.load(str(PATH)), default=str))


def expanded():
    """Return the template as plain data with every loop expanded."""
    from cfnlint.decode import cfn_yaml  # noqa: PLC0415 - as above
    from cfnlint.template import Template  # noqa: PLC0415 - as above

    template = Template(str(PATH), cfn_yaml.load(str(PATH)), [REGION])
    assert template.transform() == []
    return json.loads(json.dumps(template.template, default=str))


def ours(template, kind):
    """Return the resources of a type: logical name → properties."""
    found = {name: one for name, one in template["Resources"].items() if one["Type"] == kind}
    assert found, kind
    return {name: one["Properties"] for name, one in found.items()}


def as_list(value):
    return value if isinstance(value, list) else [value]


def without_metric_math(template):
    kept = {
        name: one
        for name, one in template["Resources"].items()
        if not (isinstance(one, dict) and "Metrics" in one["Properties"])
    }
    assert len(kept) == len(template["Resources"]) - 2
    return {**template, "Resources": kept}


def without_lock_keys(part):
    """Leave out statements whose condition ministack would answer the same for every call."""
    if isinstance(part, list):
        return [without_lock_keys(one) for one in part if "object-lock" not in json.dumps(_condition(one))]
    if isinstance(part, dict):
        return {key: without_lock_keys(value) for key, value in part.items()}
    return part


def with_batches(part):
    """Name the batched sending wherever the sending is named."""
    if isinstance(part, list):
        return [with_batches(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        key: [*as_list(value), "sqs:SendMessageBatch"]
        if key == "Action" and "sqs:SendMessage" in as_list(value)
        else with_batches(value)
        for key, value in part.items()
    }


def _condition(statement):
    return statement.get("Condition", {}) if isinstance(statement, dict) else {}


def with_session_arns(part):
    """Name the sessions of a role wherever a condition names the role."""
    if isinstance(part, list):
        return [with_session_arns(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        key: [*value, *(_sessions(one) for one in value if _sessions(one))]
        if key == "aws:PrincipalArn"
        else with_session_arns(value)
        for key, value in part.items()
    }


def _sessions(arn):
    name = ""
    if "Fn::GetAtt" in arn:
        name = f"${{{arn['Fn::GetAtt'][0]}}}"
    elif "Fn::If" in arn:
        name = PLATFORM_ROLE
    return name and {"Fn::Sub": f"arn:${{AWS::Partition}}:sts::${{AWS::AccountId}}:assumed-role/{name}/*"}


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────


class StrictMinistack(Ministack):
    """Ministack that enforces policies, over TLS."""

    def __init__(self):
        super().__init__(auth=True)
        self.certificate, self._key = make_certificate(self.folder)

    @property
    def endpoint(self):
        return Endpoint(url=f"https://127.0.0.1:{self.port}", access_key="test", secret_key="test")

    def environment(self):
        tls = {"MINISTACK_SSL_CERT": str(self.certificate), "MINISTACK_SSL_KEY": str(self._key)}
        return {**super().environment(), "USE_SSL": "1", **tls}

    def stop(self):
        self.kill()  # it waits for clients that keep their connections open, and its folder goes anyway

    def answers(self):
        trust = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(f"{self.endpoint.url}/_ministack/health", context=trust, timeout=2):
                return True
        except OSError:
            return False


def make_certificate(folder):
    """Make a certificate for loopback that is good for a day; return its path and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


# ── the stack ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Stack:
    """A deployed stack, and everybody who may ask it something."""

    server: StrictMinistack
    name: str = "coverguard"
    parameters: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    _credentials: dict = field(default_factory=dict)
    _clients: dict = field(default_factory=dict)

    def deploy(self):
        template = with_batches(with_session_arns(without_lock_keys(without_metric_math(written()))))
        chosen = {**PARAMETERS, "NamePrefix": self.name, **self.parameters}
        formation = self.client("cloudformation")
        formation.create_stack(
            StackName=self.name,
            TemplateBody=json.dumps(template, separators=(",", ":")),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in chosen.items()],
        )
        while (stack := self.described())["StackStatus"].endswith("IN_PROGRESS"):
            time.sleep(0.1)
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack.get("StackStatusReason")
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        self.finish()
        return self

    def described(self):
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return stack

    def finish(self):
        """Set what ministack leaves out of a bucket, in the template's own words."""
        s3 = self.client("s3")
        for name in ("vault", "heads"):
            asked = ours(expanded(), "AWS::S3::Bucket")[f"{name.title()}Bucket"]
            assert asked["ObjectLockEnabled"] is True
            rule = asked.get("ObjectLockConfiguration", {}).get("Rule")
            lock = {"ObjectLockEnabled": "Enabled"}
            if rule:
                assert rule["DefaultRetention"]["Mode"] == "COMPLIANCE"
                lock["Rule"] = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
            s3.put_object_lock_configuration(Bucket=self.bucket(name), ObjectLockConfiguration=lock)
        s3.put_bucket_encryption(
            Bucket=self.bucket("vault"),
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {
                        "ApplyServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": self.outputs["VaultKmsKey"],
                        }
                    }
                ]
            },
        )

    def bucket(self, name):
        return self.outputs[f"{name.title()}Bucket"]

    def queue(self, name):
        """Return the URL of any of its twelve queues, by the name that coverguard gives it."""
        return f"{self.server.endpoint.url}/{ACCOUNT}/{self.name}-{name}"

    def client(self, service, who=None):
        """Return a client of somebody: a role's name, or nobody for the account's root."""
        if (service, who) not in self._clients:
            self._clients[service, who] = SESSION.client(
                service,
                endpoint_url=self.server.endpoint.url,
                region_name=REGION,
                verify=str(self.server.certificate),
                config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
                **self.credentials(who),
            )
        return self._clients[service, who]

    def credentials(self, who=None):
        """Return boto3's words for somebody's credentials; a role is assumed once."""
        if who is None:
            endpoint = self.server.endpoint
            return {"aws_access_key_id": endpoint.access_key, "aws_secret_access_key": endpoint.secret_key}
        if who not in self._credentials:
            arn = self.outputs.get(f"{who}Role", f"arn:aws:iam::{ACCOUNT}:role/{who}")
            taken = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
            self._credentials[who] = {
                "aws_access_key_id": taken["AccessKeyId"],
                "aws_secret_access_key": taken["SecretAccessKey"],
                "aws_session_token": taken["SessionToken"],
            }
        return self._credentials[who]

    def environment(self, who):
        """Return the variables that make a process this role, on this server."""
        taken = {key.upper(): value for key, value in self.credentials(who).items()}
        services = ("SQS", "S3", "SNS", "STS", "KMS", "CLOUDFRONT")
        endpoints = {f"AWS_ENDPOINT_URL_{service}": self.server.endpoint.url for service in services}
        return {
            **taken,
            **endpoints,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CA_BUNDLE": str(self.server.certificate),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_role(self, name, *, managed=(), statements=()):
        """Make a role that anybody of the account may take, beside the stack's."""
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"}
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))
        for arn in managed:
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))

    def allows(self, act):
        """Whether an act is not refused for want of rights; it may fail for other reasons."""
        try:
            act()
        except Exception as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if not code:
                raise
            return code not in {"AccessDenied", "AccessDeniedException", "AuthorizationError", "403"}
        return True


def described_as(outputs):
    """Return what describe-stacks would print of a stack with these outputs."""
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return json.dumps({"Stacks": [{"Outputs": listed}]})


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
