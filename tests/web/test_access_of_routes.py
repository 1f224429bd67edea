"""Every route × every role: answered or refused, as the route declares; and no route that declares nothing.

The routes are those of the applications, so a new one is tried here without anybody's having thought of it.
The rest of the request makes no sense on purpose: who is refused is refused before anything of it is read.
"""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from coverguard.access import TABLE, Role, Verb
from coverguard.errors import ConfigurationError
from coverguard.store import api_keys
from coverguard.web.guard import ANYBODY, RouteVerb, guarded_app, needs, routes_and_verbs

pytestmark = pytest.mark.thorough

UNAUTHORISED, FORBIDDEN = 401, 403
NOBODYS = f"Bearer cgk_{'0' * 16}_{'A' * 43}"


def of_people(site) -> list[RouteVerb]:
    return [one for one in routes_and_verbs(site.application.app) if isinstance(one.needs, Verb)]


def ask(site, route: RouteVerb, headers: dict[str, str]) -> int:
    path = re.sub(r"\{[^}]+\}", "0", route.path)
    body = {"json": {}} if route.method == "POST" else {}
    return site.client.request(route.method, path, headers=headers, **body).status_code


def test_the_platforms_routes_take_a_verb_each_and_all_but_its_health_do(platform):
    said = {(one.method, one.path): one.needs for one in routes_and_verbs(platform.application.app)}
    assert {place for place, needed in said.items() if needed == ANYBODY} == {("GET", "/healthz")}
    assert set(said.values()) - {ANYBODY} == {Verb.FILE_REPORT, Verb.DEMAND_REMOVAL, Verb.HIDE_ACCOUNT}


def test_the_public_needs_no_key_anywhere(public):
    """A child, or a parent without an account, is never asked who they are."""
    assert {one.needs for one in routes_and_verbs(public.application.app)} == {ANYBODY}
    for route in routes_and_verbs(public.application.app):
        for headers in ({}, {"Authorization": NOBODYS}):
            assert ask(public, route, headers) != UNAUTHORISED


def test_a_key_is_let_through_where_its_role_has_the_verb(platform, make_key):
    for role in sorted(api_keys.ROLES):
        key = make_key(role)
        for route in of_people(platform):
            status = ask(platform, route, key.headers)
            assert (status == FORBIDDEN) == (route.needs not in TABLE[role]), (role, route, status)
            assert status not in (UNAUTHORISED, 500)


@pytest.mark.parametrize("role", sorted(set(Role) - api_keys.ROLES))
def test_a_role_of_people_inside_is_no_role_of_a_key(platform, make_key, role, world):
    """Were there such a key all the same, it could do what its role says, and no more."""
    key = make_key(Role.SUPPORT)
    with world.database.transaction() as tx:
        tx.exec_driver_sql(f"UPDATE api_key SET role = '{role.value}' WHERE ref = '{key.ref}'")
    for route in of_people(platform):
        assert (ask(platform, route, key.headers) == FORBIDDEN) == (route.needs not in TABLE[role])


def test_without_a_key_that_lives_nobody_is_let_in(platform, make_key, world):
    late, revoked, other = make_key(Role.HOTLINE, days=1), make_key(Role.HOTLINE), make_key(Role.HOTLINE)
    world.clock.go_on(timedelta(days=2))
    with world.database.transaction() as tx:
        tx.exec_driver_sql(f"UPDATE api_key SET revoked_at = 1 WHERE ref = '{revoked.ref}'")
        tx.exec_driver_sql(f"UPDATE api_key SET role = 'admin' WHERE ref = '{other.ref}'")
    strangers = [
        {}, {"Authorization": "Basic QTpC"}, {"Authorization": "Bearer"}, {"Authorization": NOBODYS},
        late.headers, revoked.headers,
    ]  # fmt: skip
    for route in of_people(platform):
        assert {ask(platform, route, headers) for headers in strangers} == {UNAUTHORISED}
        assert ask(platform, route, other.headers) == FORBIDDEN, "an unknown role has no verbs"


def test_a_route_that_declares_nothing_cannot_be_made():
    app = guarded_app(title="t", description="d", version="0")

    def forgotten() -> None: ...

    with pytest.raises(ConfigurationError, match="declares no verb"):
        app.get("/forgotten")(forgotten)
    app.get("/declared")(needs(Verb.FILE_REPORT)(forgotten))
    assert [one.needs for one in routes_and_verbs(app)] == [Verb.FILE_REPORT]


def test_an_application_with_a_route_of_another_kind_does_not_start():
    app = guarded_app(title="t", description="d", version="0")
    app.add_route("/beside", lambda _: None)
    with pytest.raises(ConfigurationError, match="nobody guards"):
        routes_and_verbs(app)
