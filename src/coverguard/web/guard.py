"""Who may call which route: each route declares its verb, and this is the one place that checks it.

Default deny: a route that declares nothing cannot be made, and an application that holds any other kind of
route does not start. The check comes before the body is read as anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from coverguard.access import Verb, require
from coverguard.errors import ConfigurationError
from coverguard.model import Actor
from coverguard.web.bodies import Healthy

ANYBODY: Final = "anybody"
"""Instead of a verb: no key, no name, no account is asked for."""

Needed = Verb | str
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_DECLARED: Final = "coverguard_needs"


class RouteVerb(NamedTuple):
    """One route, and what it takes to call it: a `Verb`, or `ANYBODY`."""

    method: str
    path: str
    name: str
    needs: Needed


def needs(verb: Needed) -> Callable[[Endpoint], Endpoint]:
    """Declare what it takes to call an endpoint."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, verb)
        return endpoint

    return declare


class GuardedRoute(APIRoute):
    """A route that says what it takes. Whoever calls it is in `request.state.caller`, if it takes a verb."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:  # noqa: ANN401
        """Make the route.

        Raises:
            ConfigurationError: the endpoint does not declare what it takes.
        """
        declared = getattr(endpoint, _DECLARED, None)
        if declared != ANYBODY and not isinstance(declared, Verb):
            raise ConfigurationError(f"route {path} declares no verb; nobody could tell who may call it")
        self.needs: Needed = declared
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()
        wanted = self.needs

        async def guarded(request: Request) -> Response:
            if isinstance(wanted, Verb):
                request.state.caller = caller = await run_in_threadpool(_caller, request)
                require(caller, wanted)
            response: Response = await handle(request)
            return response

        return guarded


def _caller(request: Request) -> Actor:
    """Whoever the application's gate says that this is."""
    who: Actor = request.app.state.gate(request)
    return who


def guarded_app(*, title: str, description: str, version: str) -> FastAPI:
    """An application without any route, whose routes will all be guarded; it serves no generated pages."""
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = GuardedRoute
    return app


def add_health(app: FastAPI) -> None:
    """The one route that every application has: anybody may ask, and it says nothing of anybody."""

    @app.get("/healthz", name="health", response_model=Healthy)
    @needs(ANYBODY)
    def health() -> Healthy:
        """Whether the process answers."""
        return Healthy()


def routes_and_verbs(app: FastAPI) -> Sequence[RouteVerb]:
    """Every route with what it takes.

    Raises:
        ConfigurationError: there is a route that nobody guards.
    """
    found = []
    for route in app.routes:
        if not isinstance(route, GuardedRoute):
            raise ConfigurationError("there is a route that nobody guards")
        found += [
            RouteVerb(method, route.path_format, route.name, route.needs)
            for method in sorted(route.methods or ())
        ]
    return found
