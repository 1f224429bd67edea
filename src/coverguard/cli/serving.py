"""Commands that set up a deployment and serve it: migrate, worker, keeper, files, emit, queue."""

from __future__ import annotations

import argparse
import mimetypes
import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tqdm import tqdm

from coverguard import adapters, bootstrap, preparing, settings
from coverguard.access import Verb, require
from coverguard.acting.places import segment
from coverguard.cli.output import Commands, add_json, document, person, say, table
from coverguard.errors import BadMessage, ConfigurationError, TransientError
from coverguard.keeper import Keeper
from coverguard.local import fileserver
from coverguard.messages import Cover, CoverUploaded, StoredObject, dump, from_micros
from coverguard.model import Mode, Surface
from coverguard.settings import home_of
from coverguard.store.roles import creation
from coverguard.telemetry import Log
from coverguard.worker import Worker

AT_ONCE: Final = 100  # dead letters between two steps of the bar


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("migrate", help="create the deployment, or bring its database to this release")
    command.set_defaults(run=_migrate)
    command = verbs.add_parser(
        "worker", help="screen uploads until SIGTERM (any number may run; on SQLite at most 4)"
    )
    add_metrics_port(command)
    command.set_defaults(run=_worker)
    command = verbs.add_parser("keeper", help="finish what died half-way, relay events, watch clocks")
    add_metrics_port(command)
    command.set_defaults(run=_keeper)
    command = verbs.add_parser("files", help="serve the public bucket on loopback, so that URLs can be asked")
    command.set_defaults(run=_files)
    _add_emit(verbs)
    _add_queue(verbs)


def add_metrics_port(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="of /metrics, /livez, /readyz (default: the setting; each process of a host needs its own)",
    )


def _add_emit(verbs: Commands) -> None:
    command = verbs.add_parser("emit", help="store a picture as the platform would and announce it (a test)")
    command.add_argument("picture", type=Path, help="any file; only harmless pictures, please")
    command.add_argument("--surface", type=Surface, choices=list(Surface), default=Surface.PLAYLIST_COVER)
    command.add_argument("--uploader", default="test-uploader", help="the platform's account id")
    command.add_argument("--cover", help="the platform's cover id (default: a random one)")
    command.add_argument("--cover-version", type=int, default=1)
    command.add_argument("--playlist", help="the platform's playlist id")
    command.set_defaults(run=_emit)


def _add_queue(verbs: Commands) -> None:
    queue = verbs.add_parser("queue", help="look at the queues, or give dead letters another try")
    acts = queue.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("stats", help="messages by queue and state")
    add_json(command)
    command.set_defaults(run=_stats)
    command = acts.add_parser("redrive", help="put a queue's dead letters back (role: operator)")
    command.add_argument("name", choices=bootstrap.INCOMING)
    command.add_argument("--limit", type=_count, help="at most so many (default: all that are dead now)")
    command.set_defaults(run=_redrive)


def _migrate(options: argparse.Namespace) -> int:
    home = home_of(options.home)
    prepared = preparing.prepare(home)
    say(f"{home}: ready, schema {prepared.revision}")
    for role in prepared.missing_roles:
        say(f"the database has no role {role}; let somebody who may create roles run: {creation(role)}")
    return 0


def until_told(run: Callable[[threading.Event], None]) -> int:
    """Run until SIGTERM or SIGINT, which finish what is in hand."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    run(stop)
    return 0


def _worker(options: argparse.Namespace) -> int:
    return _serve(options, bootstrap.Deployment.worker)


def _keeper(options: argparse.Namespace) -> int:
    return _serve(options, bootstrap.Deployment.keeper)


def _serve(options: argparse.Namespace, make: Callable[[bootstrap.Deployment], Worker | Keeper]) -> int:
    """Ask once whether the outside is safe to act on, then run until told to stop."""
    log = Log()
    with bootstrap.deployment(home_of(options.home), log=log) as parts:
        process = make(parts)
        parts.require_safe_store()
        parts.require_sound_queues()
        if isinstance(process, Keeper):
            parts.require_locked_heads()
        with parts.monitor(process, port=options.metrics_port) as port:
            if isinstance(process, Keeper):
                log.line("keeper_started", pid=os.getpid(), port=port)
            else:
                log.line("worker_started", pid=os.getpid(), port=port)
            return until_told(process.run)


def _files(options: argparse.Namespace) -> int:
    read = settings.load(home_of(options.home))
    if read.object_store != "folder":
        raise ConfigurationError(
            "setting object_store: there is no folder to serve; the public asks S3 itself"
        )
    log = Log()
    fileserver.run(
        adapters.folder_store(read),
        public=frozenset({read.public_bucket}),
        port=read.file_server_port,
        ready=lambda port: log.line("files_started", port=port, pid=os.getpid()),
    )
    return 0


def _emit(options: argparse.Namespace) -> int:
    try:
        data = options.picture.read_bytes()
    except OSError as error:
        raise BadMessage(f"the picture cannot be read: {type(error).__name__}") from error
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        read = parts.settings
        cover = Cover(
            id=options.cover or f"test-{secrets.token_hex(4)}",
            version=options.cover_version,
            surface=options.surface,
        )
        gated = read.modes[cover.surface] is Mode.GATE
        bucket = read.intake_bucket if gated else read.public_bucket
        name = "upload" if gated else "full"
        key = f"covers/{cover.surface.value}/{segment(cover.id)}/{cover.version}/{name}"
        content_type = mimetypes.guess_type(options.picture.name)[0] or "application/octet-stream"
        ref = parts.upload(bucket, key, data, content_type=content_type)
        event = CoverUploaded(
            event_id=f"emit-{secrets.token_hex(8)}",
            occurred_at=from_micros(parts.clock.now()),
            cover=cover,
            uploader_id=options.uploader,
            owner_id=options.uploader,
            playlist_id=options.playlist,
            object=StoredObject(bucket=ref.bucket, key=ref.key, version_id=ref.version_id),
        )
        parts.queue(bootstrap.UPLOADS).send([dump(event)])
        say(f"announced cover {cover.id} version {cover.version}")
        if url := read.places().url(bucket, key):
            say(f"public at {url} until a match blocks it")
    return 0


def _stats(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        names = (*bootstrap.INCOMING, bootstrap.SWEEP_SHARDS, *bootstrap.TOPICS)
        rows = [{"queue": name, **_depth(parts, name)} for name in names]
    if options.json:
        document(rows)
    else:
        table(rows, empty="no queues")
    return 0


def _depth(parts: bootstrap.Deployment, name: str) -> Mapping[str, int | str]:
    """Counts by state; unknown where a topic is not a queue, or a queue that we may only send to."""
    try:
        return parts.queue(name).depth()
    except TransientError:
        if name in bootstrap.TOPICS:
            return dict.fromkeys(("visible", "delayed", "leased", "dead"), "unknown")
        raise


def _redrive(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        require(person(parts.settings), Verb.OPERATE)
        queue = parts.queue(options.name)
        wanted = queue.depth()["dead"] if options.limit is None else options.limit
        back = 0
        with tqdm(total=wanted, unit=" messages", desc=options.name, disable=None, leave=False) as bar:
            while back < wanted and (some := queue.redrive(limit=min(wanted - back, AT_ONCE))):
                back += some
                bar.update(some)
        say(f"{back} dead letters are back on {options.name}")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)
