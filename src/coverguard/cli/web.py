"""Commands that serve HTTP: `web public` and `web platform`."""

from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager

from coverguard import fronts
from coverguard.cli.output import Commands
from coverguard.settings import home_of
from coverguard.telemetry import Log
from coverguard.web.fence import Fence
from coverguard.web.serving import bind, serve


def add_commands(verbs: Commands) -> None:
    web = verbs.add_parser("web", help="serve one of the HTTP interfaces until SIGTERM")
    acts = web.add_subparsers(title="interfaces", metavar="INTERFACE", required=True)
    for name, port, meaning in (
        ("public", 8080, "the report form and its JSON twin: the only one that may face the internet"),
        ("platform", 8081, "support, trusted flaggers and hotlines, by key (see: coverguard keys)"),
    ):
        command = acts.add_parser(name, help=meaning)
        command.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
        )
        command.add_argument("--port", type=int, default=port, help="default: %(default)s; 0: any")
        command.set_defaults(run=_web, interface=name)


def _web(options: argparse.Namespace) -> int:
    log = Log()
    with fronts.front(home_of(options.home), log=log) as parts, _application(parts, options) as application:
        listening = bind(options.host, options.port)
        if options.interface == "public":
            serve(application, listening, ready=lambda port: _say_public(log, port))
        else:
            serve(application, listening, ready=lambda port: _say_platform(log, port))
    return 0


def _application(parts: fronts.Front, options: argparse.Namespace) -> AbstractContextManager[Fence]:
    return parts.public() if options.interface == "public" else parts.platform()


def _say_public(log: Log, port: int) -> None:
    log.line("web_public_started", pid=os.getpid(), port=port)


def _say_platform(log: Log, port: int) -> None:
    log.line("web_platform_started", pid=os.getpid(), port=port)
