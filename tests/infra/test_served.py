"""The deployed stack is served by real processes, each with its own role and nothing else.

Settings come from the stack's outputs by `scripts/stack_settings.py`. A listed picture that is announced
vanishes from its address, a harmless one stays, the platform hears of both, evidence is locked away, the
audit trail's heads lie in their bucket, and no process was refused anything on the way. What is told to the
web processes arrives, is hidden, and is answered. The address is served by a little front that reads the
public bucket as the CDN would.
"""

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote

import httpx
import pytest
from botocore.exceptions import ClientError
from deployed_stack import described_as
from sqlalchemy import text
from test_stack_settings import load_script

from coverguard.imaging import fingerprint
from coverguard.local.clock import SystemClock
from coverguard.settings import DATABASE_VARIABLE, FILE
from coverguard.store.engine import Database
from coverguard.store.roles import apply_roles
from coverguard.store.schema.lists import ATTESTED, WEIGHED
from coverguard.testing.exchanges.serving import Server
from coverguard.testing.exchanges.stopncii import FUNCTION_KEY, SUBSCRIPTION_KEY, StopNciiSimulation
from coverguard.testing.pictures import Kind, draw, encode

pytestmark = [pytest.mark.servers, pytest.mark.process]

WAIT = 90.0  # seconds; a busy machine is slow
STATEMENT_OF_TROUBLE = ("unwell", "unsettled", "transient", "bug", "not_paged", "AccessDenied")


# ── what stands around ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def front(stack):
    """The CDN without a cache: serves current versions of the public bucket to anybody."""
    s3, bucket = stack.client("s3"), stack.bucket("public")

    class Front(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                body = s3.get_object(Bucket=bucket, Key=unquote(self.path[1:]))["Body"].read()
            except ClientError:
                self.send_response(404)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def deployment(stack, front, postgres, tmp_path):
    sqs = stack.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", []):  # what the tests of rights sent
        sqs.purge_queue(QueueUrl=url)
    ledger = Ledger(postgres, f"served_{secrets.token_hex(4)}")
    made = Deployment(stack, front, home=tmp_path / "home", logs=tmp_path, ledger=ledger)
    try:
        made.prepare()
        yield made
    finally:
        made.stop()
        ledger.remove()


class Ledger:
    """A database, and one login a process, each in the group of its role and in no other."""

    GROUPS: ClassVar = {
        "Worker": "coverguard_worker",
        "Keeper": "coverguard_keeper",
        "Importer": "coverguard_importer",
        "Operator": "coverguard_operator",
        "Auditor": "coverguard_reader",
        "WebPublic": "coverguard_public",
        "WebPlatform": "coverguard_platform",
    }

    def __init__(self, postgres, name):
        self.postgres, self.name = postgres, name
        self.url = postgres.create_database(name)
        self.database = Database(self.url)

    def login_of(self, who):
        return f"{self.name}_{who.lower()}" if who in self.GROUPS else "postgres"  # who migrates owns it all

    def make_logins(self):
        with self.database.transaction() as tx:
            for who, group in self.GROUPS.items():
                tx.execute(text(f"CREATE ROLE {self.login_of(who)} LOGIN IN ROLE {group}"))

    def seen_gone(self):
        """Whether every hold was seen to be unreachable."""
        with self.database.reading() as tx:
            rows = tx.execute(text("SELECT state, gone_at FROM quarantine")).all()
        return bool(rows) and all(row.state == "held" and row.gone_at for row in rows)

    def remove(self):
        self.database.close()
        self.postgres.drop_database(self.name)
        with contextlib.closing(Database(self.postgres.url())) as server, server.transaction() as tx:
            for who in self.GROUPS:
                tx.execute(text(f"DROP ROLE IF EXISTS {self.login_of(who)}"))


class Deployment:
    """A home made of the stack's outputs, and processes that have one role each."""

    def __init__(self, stack, front, *, home, logs, ledger):
        self.stack, self.front, self.home, self.logs, self.ledger = stack, front, home, logs, ledger
        self.processes = {}

    def prepare(self):
        """Write the settings; migrate; make the logins."""
        own = {"PublicUrl": f"{self.front}/{{key}}", "Database": self.ledger.url}
        outputs = {**self.stack.outputs, **own}
        del outputs["CloudfrontDistribution"]  # the server makes none of that name
        script = load_script()
        plain, _, tables = script.document(script.outputs_of(described_as(outputs))).partition("\n[")
        more = 'modes = { playlist_cover = "watch" }\nlease = "20s"\nverdict_on_cli = true\n'
        more += f'heads_prefix = "{self.ledger.name}/"\n'  # nobody can empty the stack's one bucket of heads
        people = '[people]\nroot = ["moderator", "list_editor", "list_reader", "operator", "auditor"]\n'
        self.home.mkdir(mode=0o700)
        (self.home / FILE).write_text(f"{plain}\n{more}\n[{tables}\n{people}", "utf-8")
        self.run("Migrator", "migrate")
        apply_roles(self.ledger.database)
        self.ledger.make_logins()

    def list_exactly(self, data):
        """Put a picture's digest on a list that holds."""
        digest = fingerprint(data).digests["sha256"]
        (self.logs / "own.csv").write_text(f"id,algorithm,digest\ne1,sha256,{digest.hex()}\n", "utf-8")
        self.run("Operator", "lists", "add", "own", "--source", "tests", "--category", "child_abuse")
        self.run("Operator", "lists", "load", "own", str(self.logs / "own.csv"))
        for verb, names in (("attest", ATTESTED), ("enable", ()), ("review", WEIGHED)):
            texts = [word for name in names for word in (f"--{name.replace('_', '-')}", "said")]
            self.run("Operator", "lists", verb, "own", *texts)
        for _ in ("refer", "hold"):
            self.run("Operator", "lists", "promote", "own", "--note", "tried")

    def run(self, who, *arguments, code=0):
        done = subprocess.run(
            self._command(*arguments), env=self._environment(who), capture_output=True, text=True, check=False
        )
        told = (
            f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )
        assert done.returncode == code, told
        return done.stdout

    def verify(self):
        """Ask whether every promise is kept; where a machine was too busy to answer, once more."""
        try:
            self.run("Operator", "verify")
        except AssertionError as error:
            if "could not be asked" not in str(error):
                raise
            self.run("Operator", "verify")

    def start(self, who, name, *arguments, home=None):
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self._command(*(arguments or (name,)), home=home), env=self._environment(who), stderr=log
            )

    def start_web(self, who, kind):
        """Start a web process as on a host of its own: with settings, and a public key of the staff's."""
        home = self.logs / kind
        (home / "keys").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        shutil.copy(self.home / FILE, home)
        shutil.copy(self.home / "keys" / "letters.pub", home / "keys")  # a worker made it
        self.start(who, f"web-{kind}", "web", kind, "--port", "0", home=home)
        until(self, lambda: self._port(kind), what=f"web {kind} does not start")
        return f"http://127.0.0.1:{self._port(kind)}"

    def keys_of(self, kind):
        """What a web process has in its key directory."""
        return {path.name for path in (self.logs / kind / "keys").iterdir()}

    def _port(self, kind):
        said = re.search(rf'"web_{kind}_started".*"port":(\d+)', (self.logs / f"web-{kind}.log").read_text())
        return said and int(said[1])

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()

    def trouble(self):
        """Return the log lines that say that something was refused or went wrong."""
        lines = [line for path in self.logs.glob("*.log") for line in path.read_text("utf-8").splitlines()]
        return [line for line in lines if any(word in line for word in STATEMENT_OF_TROUBLE)]

    def _command(self, *arguments, home=None):
        return [sys.executable, "-m", "coverguard.cli", "--home", str(home or self.home), *arguments]

    def _environment(self, who):
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "COVERGUARD_"))
        }
        database = self.ledger.postgres.url(self.ledger.name, user=self.ledger.login_of(who))
        return {**kept, **self.stack.environment(who), DATABASE_VARIABLE: database}


class ThePlatform:
    """The platform's own role: stores, announces, takes verdicts."""

    def __init__(self, stack):
        self.stack = stack
        self.heard = {}  # cover id → types of its verdicts

    def upload(self, data, *, cover):
        s3, sqs = self.stack.client("s3", "platform-pipeline"), self.stack.client("sqs", "platform-pipeline")
        where = {"Bucket": self.stack.bucket("public"), "Key": f"originals/{cover}.jpg"}
        version = s3.put_object(**where, Body=data, ContentType="image/jpeg")["VersionId"]
        event = {
            "schema": "coverguard.event/1",
            "type": "cover.uploaded",
            "event_id": secrets.token_hex(8),
            "occurred_at": datetime.now(UTC).isoformat(),
            "cover": {"id": cover, "version": 1, "surface": "playlist_cover"},
            "uploader_id": f"uploader-of-{cover}",
            "owner_id": f"uploader-of-{cover}",
            "object": {"bucket": where["Bucket"], "key": where["Key"], "version_id": version},
            "renditions": [],
        }
        sqs.send_message(QueueUrl=self.stack.queue("uploads"), MessageBody=json.dumps(event))
        return where["Key"]

    def listen(self):
        sqs, url = self.stack.client("sqs", "pipeline-consumer"), self.stack.queue("pipeline")
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get(
            "Messages", []
        ):
            with contextlib.suppress(ValueError, KeyError):  # other tests' probes are no verdicts
                event = json.loads(message["Body"])
                self.heard.setdefault(event["cover"]["id"], []).append(event["type"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return self.heard


def status_of(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until(deployment, condition, *, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        gone = [name for name, one in deployment.processes.items() if one.poll() is not None]
        assert not gone, (gone, [(deployment.logs / f"{name}.log").read_text()[-3000:] for name in gone])
        assert time.monotonic() < deadline, (what, deployment.trouble()[-10:])
        time.sleep(0.2)


# ── the road ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_listed_picture_vanishes_and_every_role_had_what_it_needed(stack, deployment):
    listed, harmless = (encode(draw(Kind.SCENE, seed, side=256)) for seed in (41, 42))
    for name in ("uploads", "account-events", "reports", "sweep-shards", "pipeline", "safety"):
        stack.client("sqs").purge_queue(QueueUrl=stack.queue(name))  # what other tests tried
    deployment.list_exactly(listed)
    platform, suffix = ThePlatform(stack), secrets.token_hex(3)
    bad, good = f"bad-{suffix}", f"good-{suffix}"
    bad_url, good_url = (
        f"{deployment.front}/{platform.upload(data, cover=cover)}"
        for data, cover in ((listed, bad), (harmless, good))
    )
    assert status_of(bad_url) == status_of(good_url) == 200  # public while nobody has looked: watch mode
    deployment.start("Worker", "worker")
    deployment.start("Keeper", "keeper")

    until(deployment, lambda: status_of(bad_url) == 404, what="the listed picture is still served")
    until(deployment, lambda: {bad, good} <= {*platform.listen()}, what="the platform was not told")
    assert platform.heard[bad] == ["cover.withheld"]
    assert platform.heard[good] == ["cover.cleared"]
    assert status_of(good_url) == 200
    until(deployment, lambda: kept(stack, listed), what="the vault has no locked copy")  # the block is faster
    until(deployment, lambda: heads(stack, deployment), what="no head was archived")
    until(deployment, deployment.ledger.seen_gone, what="nobody saw it gone")

    deployment.verify()
    deployment.run("Auditor", "verify", "audit")
    deployment.stop()
    assert deployment.trouble() == []


def kept(stack, data):
    """Whether the vault has these bytes, under a legal hold."""
    s3, bucket = stack.client("s3", "Operator"), stack.bucket("vault")
    for one in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        at = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
        if one["Size"] == len(data) and s3.get_object(**at)["Body"].read() == data:
            return s3.get_object_legal_hold(**at)["LegalHold"]["Status"] == "ON"
    return False


def heads(stack, deployment):
    s3, prefix = stack.client("s3", "Auditor"), f"{deployment.ledger.name}/"
    listed = s3.list_objects_v2(Bucket=stack.bucket("heads"), Prefix=prefix)
    return listed["KeyCount"]


# ── what people tell us ──────────────────────────────────────────────────────────────────────────────────


def test_what_is_told_to_the_web_processes_is_receipted_served_and_answered(stack, deployment):
    """Each has an AWS role, a database login and keys of its own: enough for all that it does."""
    key = new_key(deployment, "support")  # makes the home's keys, too: a keeper alone may not
    urls = shown(stack, deployment)
    public = stranger(deployment.start_web("WebPublic", "public"))
    desk = stranger(deployment.start_web("WebPlatform", "platform"))
    with public, desk:
        assert public.get("/healthz").status_code == desk.get("/healthz").status_code == 200
        by_form = filed_by_form(public, playlist_cover=["formed"])
        by_json = filed(public, covers=[{"id": "called", "surface": "playlist_cover"}])
        desk.headers["Authorization"] = f"Bearer {key}"
        by_support = filed(desk, account_ids=["uploader-of-told"])
        hidden = desk.post("/v1/accounts/uploader-of-hidden/hide")
        assert (hidden.status_code, hidden.json()["covers"]) == (202, 1)
        for kind, receipt in (("public", by_form), ("public", by_json), ("platform", by_support)):
            assert verdict_on(deployment, kind, receipt) == "valid"

        for cover, url in urls.items():
            until(deployment, lambda url=url: status_of(url) == 404, what=f"{cover} is still served")
        for receipt in (by_form, by_json):
            until(deployment, lambda of=receipt: "status" in thread(public, of), what="not answered")
            assert thread(public, receipt)[:2] == ["report", "receipt"]
        mine = f"/v1/reports/{by_support['document']['reference']}"
        until(deployment, lambda: desk.get(mine).status_code == 200, what="support's report is not taken in")
    assert deployment.keys_of("public") == {"letters.pub", "networks.key", "receipt.key", "receipt.pub"}
    assert deployment.keys_of("platform") == {"letters.pub", "receipt.key", "receipt.pub"}
    deployment.verify()
    deployment.stop()
    assert deployment.trouble() == []


def shown(stack, deployment):
    """Four harmless covers of four accounts, looked at and public; return their URLs by cover."""
    platform, names = ThePlatform(stack), ("formed", "called", "told", "hidden")
    urls = {}
    for seed, cover in enumerate(names, start=51):
        key = platform.upload(encode(draw(Kind.SCENE, seed, side=128)), cover=cover)
        urls[cover] = f"{deployment.front}/{key}"
    deployment.start("Worker", "worker")
    deployment.start("Keeper", "keeper")
    until(deployment, lambda: {*names} <= {*platform.listen()}, what="the covers are not looked at")
    assert {status_of(url) for url in urls.values()} == {200}
    return urls


def stranger(address):
    return httpx.Client(base_url=address, trust_env=False, timeout=60)


def filed(client, **told):
    """Report as a program does; return the receipt."""
    answer = client.post("/v1/reports", json={"category": "child_abuse", **told})
    assert answer.status_code == 202, answer.text
    return answer.json()


def filed_by_form(client, **named):
    """Report as a person does; return the receipt that the page offers as a file."""
    lines = {field: "\n".join(ids) for field, ids in named.items()}
    answer = client.post("/reports", data={"category": "child_abuse", "text": "please look", **lines})
    assert answer.status_code == 202, answer.text
    (file,) = re.findall(r'name="file" value="([^"]+)"', answer.text)
    return json.loads(base64.b64decode(file))


def verdict_on(deployment, kind, receipt):
    """What the command says of a receipt that has nothing but the file and the process's public key."""
    file = deployment.logs / "receipt.json"
    file.write_text(json.dumps(receipt), "utf-8")
    key = deployment.logs / kind / "keys" / "receipt.pub"
    said = deployment.run("Auditor", "receipt", "verify", str(file), "--key", str(key), "--json")
    return json.loads(said)["verdict"]


def new_key(deployment, role):
    """A key of the platform's interface: the last word of what the command prints."""
    return deployment.run("Operator", "keys", "add", f"the {role} desk", "--role", role).split()[-1]


def thread(client, receipt):
    """The kinds of its entries, as the reporter sees them."""
    reference = receipt["document"]["reference"]
    answer = client.post(f"/v1/reports/{reference}/thread", json={"token": receipt["token"]})
    assert answer.status_code == 200, answer.text
    return [entry["kind"] for entry in answer.json()["entries"]]


# ── lists that come by themselves ──────────────────────────────────────────────────────────────────────────


def test_the_importer_fetches_without_any_right_of_aws(stack, deployment):
    """On a host of its own, with settings, the lists' key, one credential and its login."""
    simulation = StopNciiSimulation(SystemClock())
    simulation.publish()
    with Server(simulation) as server:
        deployment.run(
            "Operator", "lists", "add", "asked", "--source", "tests", "--category", "intimate_image"
        )
        which = ("--list", "asked", "--kind", "stopncii", "--place", server.url)
        deployment.run("Operator", "import", "add", "asked-for", *which)
        home = deployment.logs / "importing"
        (home / "keys" / "exchanges").mkdir(mode=0o700, parents=True)
        for folder in (home, home / "keys"):
            folder.chmod(0o700)
        shutil.copy(deployment.home / FILE, home)
        shutil.copy(deployment.home / "keys" / "lists.key", home / "keys")
        credentials = home / "keys" / "exchanges" / "asked-for"
        credentials.touch(mode=0o600)
        credentials.write_text(f"{FUNCTION_KEY},{SUBSCRIPTION_KEY}\n", "utf-8")
        deployment.start("Importer", "importer", "import", "serve", home=home)
        until(deployment, lambda: imported(deployment)["records"] == 1, what="nothing was fetched")
    assert imported(deployment)["fault"] == "-"
    assert {path.name for path in (home / "keys").iterdir()} == {"lists.key", "exchanges"}
    deployment.stop()
    assert deployment.trouble() == []


def imported(deployment):
    (row,) = json.loads(deployment.run("Operator", "import", "status", "--json"))
    return row
