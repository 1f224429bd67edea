"""`coverguard demo`: the whole road on this machine, on generated pictures, judged from outside.

It plays platform (stores covers, announces them, heeds the verdicts), runs real worker, keeper and file
server processes, then asks every public URL as a stranger and compares the answers with a truth that another
process computed by brute force. Running it again adds another seed's covers; nothing is undone.
"""

from __future__ import annotations

import argparse
import csv
import json
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from coverguard import adapters, bootstrap, preparing
from coverguard.adapters import EXCHANGE_KEYS
from coverguard.bootstrap import Deployment
from coverguard.cli.output import Commands, document, say
from coverguard.errors import TransientError
from coverguard.hashlist import ListFormat
from coverguard.messages import CollaboratorAdded, PlaylistEdited, dump, from_micros
from coverguard.model import Actor, Category, Channel, ListAction
from coverguard.policy import ListRule
from coverguard.ports import Reach
from coverguard.store import fetches, figures, lists
from coverguard.telemetry import Log
from coverguard.testing.cast import Cast, Part, cast
from coverguard.testing.exchanges.serving import Server
from coverguard.testing.exchanges.stopncii import FUNCTION_KEY, SUBSCRIPTION_KEY, StopNciiSimulation
from coverguard.testing.platform import Platform, Upload
from coverguard.testing.vouching import vouch

HOME: Final = ".demo/home"
WORKERS: Final = 2
RADIUS: Final = 31
QUALITY: Final = 50
PROMISE: Final = 0.95
PATIENCE: Final = 150.0  # seconds without any progress before giving up
DECISIONS: Final = {"pass": "passed", "hold": "held", "refer": "referred", "not_screened": "not screened"}
DIRECTOR: Final = Actor(name="demo", roles=frozenset({"list_editor"}), channel=Channel.CLI)


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser(
        "demo", help="play the whole road on generated pictures and judge it from outside"
    )
    command.add_argument("--seed", type=int, help="of the pictures (default: random, printed)")
    command.add_argument("--workers", type=int, choices=range(1, 5), default=WORKERS)
    command.add_argument("--setup-seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    command.add_argument("--json", action="store_true", help="print one JSON document, no progress")
    command.set_defaults(run=_demo)


@dataclass(slots=True)
class Phases:
    """Seconds by phase, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 2)


def _demo(options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    home = Path(options.home or HOME).absolute()
    phases = Phases({"download and install": round(options.setup_seconds, 2)})
    _prepare(home)
    with phases.phase("draw"):
        played = cast(seed)
    with bootstrap.deployment(home, log=Log(stream=None)) as parts, _file_server(home):
        platform = Platform(
            settings=parts.settings, store=adapters.folder_store(parts.settings), clock=parts.clock
        )
        with phases.phase("load lists"):
            list_file = _load_lists(parts, played, home)
        with phases.phase("upload"):
            uploads = _upload(parts, platform, played)
        with phases.phase("screen"), _processes(home, options.workers):
            _await_answers(parts, platform, uploads, quiet=options.json)
        with phases.phase("ask URLs"):
            reached = _ask(parts, platform, uploads)
        with phases.phase("truth"):
            truth = _truth(played, list_file, home)
        report = _report(parts, played, uploads, reached=reached, truth=truth)
    report = {"seed": seed, **report, "seconds": phases.seconds}
    if options.json:
        document(report)
    else:
        _print(report, home)
    return 0 if report["kept"] else 1


# ── setting the stage ──────────────────────────────────────────────────────────────────────────────────────


def _prepare(home: Path) -> None:
    """A deployment of its own, on a port nobody else uses."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    made = f"# written by `coverguard demo`, anew at each run\nfile_server_port = {port}\n"
    (home / "coverguard.toml").write_text(made, encoding="utf-8")
    preparing.prepare(home)


def _load_lists(parts: Deployment, played: Cast, home: Path) -> Path:
    """Deliver list files as sources would and load them as an operator would; return one of all entries."""
    firm = {name: digest for name, digest in played.listed.items() if name not in played.referred}
    soft = {name: digest for name, digest in played.listed.items() if name in played.referred}
    _load_list(
        parts, f"demo-{played.seed}", firm, home, category=Category.CHILD_ABUSE, action=ListAction.HOLD
    )
    soft_list = _make_list(
        parts, f"demo-{played.seed}-refer", category=Category.INTIMATE_IMAGE, action=ListAction.REFER
    )
    _fetch_list(parts, soft_list, soft)
    return _list_file(home / f"listed-{played.seed}.csv", played.listed)


def _load_list(
    parts: Deployment,
    name: str,
    listed: Mapping[str, str],
    home: Path,
    *,
    category: Category,
    action: ListAction,
) -> None:
    _make_list(parts, name, category=category, action=action)
    path = _list_file(home / f"{name}.csv", listed)
    parts.importer().load_file(name, path, list_format=ListFormat.CSV, actor=DIRECTOR)


def _make_list(parts: Deployment, name: str, *, category: Category, action: ListAction) -> int:
    rule = ListRule(list_id=0, version=0, category=category, action=action)
    with parts.database.transaction() as tx:
        now = parts.clock.now()
        source = "generated by the demo"
        list_id, _ = lists.create(
            tx, name=name, source=source, rule=rule, actor=DIRECTOR.name, note="demo", now=now
        )
        vouch(tx, list_id, now=now)
    return list_id


def _fetch_list(parts: Deployment, list_id: int, listed: Mapping[str, str]) -> None:
    """Have the list come from an exchange of intimate images: a simulated one, over real HTTP."""
    name, day = f"demo-{list_id}", timedelta(days=1) // timedelta(microseconds=1)
    folder = parts.settings.home / "keys" / EXCHANGE_KEYS
    folder.mkdir(mode=0o700, exist_ok=True)
    credentials = folder / name
    credentials.touch(0o600)
    credentials.write_text(f"{FUNCTION_KEY},{SUBSCRIPTION_KEY}\n", encoding="utf-8")
    simulated = StopNciiSimulation(parts.clock)
    for digest in listed.values():
        simulated.publish(digest)
    with Server(simulated) as server:
        with parts.database.transaction() as tx:
            fetches.create(
                tx, name=name, list_id=list_id, kind="stopncii", place=server.url, every=day,
                now=parts.clock.now(),
            )  # fmt: skip
        report = parts.fetcher().fetch(name)
    with parts.database.transaction() as tx:
        fetches.switch(tx, name, enabled=False)  # its exchange is gone with this command
    if report is None or not report.caught_up:
        raise TransientError("the simulated exchange could not be fetched")


def _list_file(path: Path, listed: Mapping[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "algorithm", "digest"])
        writer.writerows([name, "pdq", digest] for name, digest in sorted(listed.items()))
    path.chmod(0o600)
    return path


def _upload(parts: Deployment, platform: Platform, played: Cast) -> dict[str, Upload]:
    """Store every cover, then announce them all, and what people did to the playlists."""
    run = parts.clock.now()
    uploads = {}
    for part in played.parts:
        made = platform.upload(
            part.data, cover_id=f"{part.name}-{run}", uploader=part.uploader, surface=part.surface
        )
        uploads[part.name] = _in_playlist(made, part)
    now = from_micros(run)
    events = [
        *(
            CollaboratorAdded(
                event_id=f"joined-{run}-{n}", occurred_at=now, playlist_id=playlist, account_id=account
            )
            for n, (playlist, account) in enumerate(played.collaborators)
        ),
        *(
            PlaylistEdited(
                event_id=f"edit-{run}-{n}",
                occurred_at=now,
                playlist_id=playlist,
                editor_id=editor,
                field="title",
                text=title,
            )
            for n, (playlist, editor, title) in enumerate(played.titles)
        ),
    ]
    parts.queue(bootstrap.ACCOUNT_EVENTS).send([dump(event) for event in events])
    parts.queue(bootstrap.UPLOADS).send([upload.body for upload in uploads.values()])
    return uploads


def _in_playlist(upload: Upload, part: Part) -> Upload:
    event = upload.event.model_copy(update={"playlist_id": part.playlist})
    return Upload(event=event, data=upload.data, mode=upload.mode)


# ── processes ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _process(home: Path, verb: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "coverguard.cli", "--home", str(home), verb]
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)  # noqa: S603 - our own
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def _file_server(home: Path) -> Iterator[None]:
    with _process(home, "files", home / "files.log"):
        yield


@contextmanager
def _processes(home: Path, workers: int) -> Iterator[None]:
    """Real workers and a keeper, until the block ends."""
    if workers == 0:
        with _process(home, "keeper", home / "keeper.log"):
            yield
        return
    with _process(home, "worker", home / f"worker-{workers}.log"), _processes(home, workers - 1):
        yield


def _await_answers(
    parts: Deployment, platform: Platform, uploads: Mapping[str, Upload], *, quiet: bool
) -> None:
    """Heed the pipeline, as the platform would, until every cover has an answer that is acted on."""
    ids = {upload.event.cover.id for upload in uploads.values()}
    pipeline, seen, moved = parts.queue("pipeline"), 0, time.monotonic()
    with tqdm(total=len(ids), unit=" covers", desc="screening", disable=quiet or None) as bar:
        while True:
            platform.consume(pipeline)
            with parts.database.reading() as tx:
                settled = figures.settled(tx, ids)
                told = figures.untold(tx) == 0
            bar.update(settled - seen)
            moved = time.monotonic() if settled > seen else moved
            seen = settled
            if settled == len(ids) and told and not platform.consume(pipeline):
                return
            if time.monotonic() - moved > PATIENCE:
                raise TransientError(
                    f"no progress for {PATIENCE:.0f} s; see the logs in {parts.settings.home}"
                )
            time.sleep(0.1)


# ── judging ────────────────────────────────────────────────────────────────────────────────────────────────


def _ask(parts: Deployment, platform: Platform, uploads: Mapping[str, Upload]) -> dict[str, bool]:
    """Ask every cover's public URL as a stranger: does it serve the cover's bytes?"""
    reached = {}
    for name, upload in uploads.items():
        answers = [parts.probe.ask(url, sha256=b"") for url in platform.urls(upload.key)]
        if Reach.UNKNOWN in answers:
            raise TransientError("the file server did not answer")
        reached[name] = any(answer is not Reach.GONE for answer in answers)
    return reached


def _truth(played: Cast, list_file: Path, home: Path) -> dict[str, Any]:
    """Let another process compare every picture with the list, by brute force."""
    folder = home / "truth"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for part in played.parts:
        (folder / part.name).write_bytes(part.data)
    command = [sys.executable, "-m", "coverguard.testing.truth", str(list_file), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own module
    return dict(json.loads(done.stdout))


def _report(
    parts: Deployment,
    played: Cast,
    uploads: Mapping[str, Upload],
    *,
    reached: Mapping[str, bool],
    truth: Mapping[str, Any],
) -> dict[str, Any]:
    ids = {upload.event.cover.id for upload in uploads.values()}
    with parts.database.reading() as tx:
        counted = figures.run(tx, ids)
    promised = [part for part in played.parts if part.promised and _near(truth[part.name])]
    missed = [part.name for part in promised if reached[part.name]]
    clean = [
        part for part in played.parts if part.readable and not part.copy_of and not _near(truth[part.name])
    ]
    wronged = [part.name for part in clean if not reached[part.name]]
    unscreened = [part.name for part in played.parts if not part.readable and reached[part.name]]
    found = 1 - len(missed) / len(promised)
    return {
        "covers": len(ids),
        "decisions": counted["decisions"],
        "cases": counted["cases"],
        "linked covers": counted["linked"],
        "milliseconds": {
            "from message to unreachable, backlog included": _spread(counted["from_message"]),
            "from a worker taking it to unreachable": _spread(counted["from_worker"]),
        },
        "copies of listed pictures": len(promised),
        "of them unreachable": round(found, 4),
        "missed": missed,
        "unlisted pictures": len(clean),
        "of them unreachable by mistake": wronged,
        "not screened and yet reachable": unscreened,
        "other alterations found": _others(played, reached),
        "kept": found >= PROMISE and not wronged and not unscreened,
    }


def _near(truth: Mapping[str, int] | None) -> bool:
    return truth is not None and truth["bits"] <= RADIUS and truth["quality"] >= QUALITY


def _others(played: Cast, reached: Mapping[str, bool]) -> dict[str, str]:
    by_kind: dict[str, list[bool]] = {}
    for part in played.parts:
        if part.copy_of and not part.promised:
            by_kind.setdefault(part.how, []).append(not reached[part.name])
    return {how: f"{sum(gone)} of {len(gone)}" for how, gone in sorted(by_kind.items())}


def _spread(milliseconds: Sequence[float]) -> dict[str, float]:
    if len(milliseconds) < 2:  # noqa: PLR2004 - quantiles need two
        return {}
    cuts = statistics.quantiles(milliseconds, n=20)
    return {
        "median": round(statistics.median(milliseconds)),
        "p95": round(cuts[18]),
        "max": round(max(milliseconds)),
    }


def _print(report: Mapping[str, Any], home: Path) -> None:
    say(f"\nseed {report['seed']}: {report['covers']} covers announced")
    for decision, name in DECISIONS.items():
        say(f"  {name:13} {report['decisions'].get(decision, 0):4}")
    say(f"  cases         {report['cases']:4}, linking {report['linked covers']} more covers of theirs")
    for what, spread in report["milliseconds"].items():
        say(f"  {what}: " + ", ".join(f"{name} {value} ms" for name, value in spread.items()))
    say("\nasked at the public URLs, against a truth computed by another process with brute force:")
    say(
        f"  {report['of them unreachable']:.1%} of {report['copies of listed pictures']} copies of listed "
        f"pictures are unreachable (promised: {PROMISE:.0%})"
    )
    wronged = len(report["of them unreachable by mistake"])
    say(f"  {wronged} of {report['unlisted pictures']} unlisted pictures are unreachable (promised: 0)")
    say(f"  {len(report['not screened and yet reachable'])} unreadable files are reachable (promised: 0)")
    others = ", ".join(f"{how} {count}" for how, count in report["other alterations found"].items())
    say(f"  other alterations found, not promised yet: {others}")
    seconds = ", ".join(f"{name} {spent:.1f} s" for name, spent in report["seconds"].items())
    say(f"\ntime: {seconds}")
    say("kept: the demo's promises hold" if report["kept"] else "BROKEN: see above")
    say(f"\nlook around: coverguard --home {home} files &")
    say("then, with the same --home: verify, doctor, queue stats")
