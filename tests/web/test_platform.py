"""The platform's interface: whose key it is, what it may do, and what a signature is good for."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from datetime import timedelta

import pytest
from sites import Key, Site
from world import WATCHED, picture

from coverguard import receipts
from coverguard.access import Role
from coverguard.errors import ConfigurationError, NotFound, Refused
from coverguard.local.keys import RECEIPT, PublicKeys
from coverguard.messages import ReportFiled, parse
from coverguard.model import later
from coverguard.store import api_keys
from coverguard.web.guard import ANYBODY, guarded_app, routes_and_verbs
from coverguard.web.platform.signatures import content_digest, signature_base

pytestmark = pytest.mark.thorough

Make = Callable[..., Key]
REPORT = {"category": "child_abuse", "covers": [{"id": "c1", "surface": "profile_image"}]}
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def signed(site: Site, key: Key, told: dict, *, age: timedelta = timedelta(), **changed: str) -> dict:
    """A request to /v1/removals as a hotline signs it, but for the headers in `changed`."""
    body = json.dumps(told).encode()
    created = (site.world.clock.now() - age // timedelta(microseconds=1)) // 1_000_000
    parameters = f'("@method" "@path" "content-digest");created={created};keyid="{key.ref}";alg="ed25519"'
    base = signature_base(
        method="POST", path="/v1/removals", content_digest=content_digest(body), parameters=parameters
    )
    headers = {
        **key.headers,
        "Content-Type": "application/json",
        "Content-Digest": content_digest(body),
        "Signature-Input": f"sig1={parameters}",
        "Signature": f"sig1=:{base64.b64encode(key.signer.sign(base)).decode()}:",
    }
    return {"content": body, "headers": {**headers, **changed}}


def events(site: Site) -> list[ReportFiled]:
    return [parse(body) for body in site.sent()]


# ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_key_that_lives_nobody_comes_in(platform: Site, make_key: Make):
    key = make_key(Role.TRUSTED_FLAGGER, days=30)
    assert platform.client.post("/v1/reports", json=REPORT, headers=key.headers).status_code == 202
    other = Key(key.ref, secrets.token_bytes(32), key.signer)
    stranger = Key("key-" + "0" * 16, key.secret, key.signer)
    for headers in ({}, {"Authorization": "Bearer x"}, other.headers, stranger.headers):
        answer = platform.client.post("/v1/reports", json=REPORT, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    platform.world.clock.go_on(30 * DAY)
    assert platform.client.post("/v1/reports", json=REPORT, headers=key.headers).status_code == 401


def test_a_revoked_key_is_out_at_once_and_a_rotated_one_after_its_overlap(platform: Site, make_key: Make):
    key, world = make_key(Role.SUPPORT, name="desk"), platform.world
    reference = platform.client.post("/v1/reports", json=REPORT, headers=key.headers).json()["document"][
        "reference"
    ]
    platform.work()
    secret = secrets.token_bytes(32)
    with world.database.transaction() as tx:
        now = world.clock.now()
        ref = api_keys.replace(
            tx, key.ref, secret=secret, created_by="Olga", now=now,
            expires_at=later(now, 90 * DAY), until=later(now, DAY),
        )  # fmt: skip
    new = Key(ref, secret, key.signer)
    status = f"/v1/reports/{reference}"
    assert [platform.client.get(status, headers=one.headers).status_code for one in (key, new)] == [200, 200]
    world.clock.go_on(DAY)
    assert [platform.client.get(status, headers=one.headers).status_code for one in (key, new)] == [401, 200]
    with world.database.transaction() as tx:
        assert api_keys.revoke(tx, new.ref, now=world.clock.now())
        assert not api_keys.revoke(tx, new.ref, now=world.clock.now())
    assert platform.client.get(status, headers=new.headers).status_code == 401
    with world.database.transaction() as tx, pytest.raises(Refused):
        api_keys.replace(
            tx, new.ref, secret=secret, created_by="Olga", now=now, expires_at=later(now, DAY), until=now
        )


def test_a_key_is_stored_as_a_digest_with_a_name_of_its_own(platform: Site, make_key: Make):
    key = make_key(Role.HOTLINE, name="a hotline")
    (row,) = platform.world.rows("api_key")
    assert key.secret not in bytes(row.secret_sha256)
    with pytest.raises(Refused):
        make_key(Role.SUPPORT, name="a hotline")
    with pytest.raises(Refused):
        make_key(Role.MODERATOR)
    with platform.world.database.transaction() as tx, pytest.raises(NotFound):
        api_keys.revoke(tx, "key-" + "0" * 16, now=platform.world.clock.now())


# ── roles ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", sorted(api_keys.ROLES))
def test_a_report_has_the_source_of_its_key(platform: Site, make_key: Make, role: Role):
    key = make_key(role)
    answer = platform.client.post("/v1/reports", json=REPORT, headers=key.headers)
    assert answer.json()["document"]["source"] == role.value
    (event,) = events(platform)
    assert (event.source.value, event.api_key, event.removal) == (role.value, key.ref, False)
    platform.work()
    (row,) = platform.world.rows("report")
    assert row.source == role.value


@pytest.mark.parametrize("road", ["/v1/reports", "/v1/removals"])
def test_an_earlier_reference_is_on_the_receipt_of_a_key_too(platform: Site, make_key: Make, road: str):
    key, earlier = make_key(Role.HOTLINE), "report-0123456789abcdef"
    told = {**REPORT, "earlier_reference": earlier}
    answer = platform.client.post(road, json=told, headers=key.headers)
    assert answer.json()["document"]["earlier_reference"] == earlier
    wrong = platform.client.post(road, json={**told, "earlier_reference": "zebrafinch"}, headers=key.headers)
    assert wrong.status_code == 422
    assert "zebrafinch" not in wrong.text
    platform.work()
    (row,) = platform.world.rows("report")
    assert row.earlier_ref == earlier


def test_only_those_who_made_a_report_learn_its_state_and_no_more(platform: Site, make_key: Make):
    mine, theirs = make_key(Role.TRUSTED_FLAGGER), make_key(Role.TRUSTED_FLAGGER)
    platform.world.upload(picture(1), "c1", uploader="her", surface=WATCHED)
    answer = platform.client.post("/v1/reports", json=REPORT, headers=mine.headers)
    path = f"/v1/reports/{answer.json()['document']['reference']}"
    assert platform.client.get(path, headers=mine.headers).status_code == 404  # not taken in yet
    platform.work()
    assert platform.client.get(path, headers=theirs.headers).status_code == 404
    told = platform.client.get(path, headers=mine.headers).json()
    assert set(told) == {"reference", "status", "received_at", "hidden_at", "decided_at"}
    assert told["decided_at"] is None


def test_support_hides_all_of_an_account_in_one_call_and_sees_nothing(platform: Site, make_key: Make):
    key, world = make_key(Role.SUPPORT), platform.world
    for number in (1, 2):
        world.upload(picture(number), f"c{number}", uploader="her/s", surface=WATCHED)
    answers = [platform.client.post("/v1/accounts/her%2Fs/hide", headers=key.headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["covers"] == 2
    assert answers[0].json()["takedown"] == answers[1].json()["takedown"]
    assert set(answers[0].json()) == {"takedown", "state", "covers", "says"}
    (cause,) = world.rows("takedown_cause")
    assert (cause.kind, cause.level, cause.actor, cause.role) == ("support", "block", key.ref, "support")


@pytest.mark.parametrize("role", [Role.TRUSTED_FLAGGER, Role.HOTLINE])
def test_nobody_else_hides_accounts(platform: Site, make_key: Make, role: Role):
    answer = platform.client.post("/v1/accounts/her/hide", headers=make_key(role).headers)
    assert answer.status_code == 403
    assert not platform.world.rows("takedown")


# ── signed demands ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_signed_demand_is_one_however_often_it_is_sent(platform: Site, make_key: Make):
    key = make_key(Role.HOTLINE)
    request = signed(platform, key, REPORT)
    answers = [platform.client.post("/v1/removals", **request) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["document"]["notes"] == []
    assert {(event.removal, event.event_id) for event in events(platform)} == {
        (True, events(platform)[0].event_id)
    }
    platform.work()
    (row,) = platform.world.rows("report")
    assert row.urgent
    assert "notice_24h" in {one.kind for one in platform.world.rows("obligation")}


@pytest.mark.parametrize(
    ("why", "changed"),
    [
        ("no signature", {"Signature": ""}),
        ("no signature", {"Signature-Input": 'sig1=("@method");created=1;keyid="key-1";alg="ed25519"'}),
        ("digest", {"Content-Digest": content_digest(b"other")}),
        ("registered key", {"Signature": f"sig1=:{base64.b64encode(bytes(64)).decode()}:"}),
    ],
)
def test_what_is_not_rightly_signed_is_an_ordinary_report(
    platform: Site, make_key: Make, why: str, changed: dict
):
    answer = platform.client.post(
        "/v1/removals", **signed(platform, make_key(Role.HOTLINE), REPORT, **changed)
    )
    assert answer.status_code == 202
    (note,) = answer.json()["document"]["notes"]
    assert why in note
    (event,) = events(platform)
    assert not event.removal


@pytest.mark.parametrize("age", [6 * MINUTE, -6 * MINUTE])
def test_a_signature_holds_for_five_minutes(platform: Site, make_key: Make, age: timedelta):
    answer = platform.client.post("/v1/removals", **signed(platform, make_key(Role.HOTLINE), REPORT, age=age))
    assert "five minutes" in answer.json()["document"]["notes"][0]


def test_nobody_signs_in_anothers_name(platform: Site, make_key: Make):
    mine, theirs = make_key(Role.HOTLINE), make_key(Role.HOTLINE)
    answer = platform.client.post("/v1/removals", **signed(platform, theirs, REPORT, **mine.headers))
    assert "another key" in answer.json()["document"]["notes"][0]


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.TRUSTED_FLAGGER])
def test_only_hotlines_demand_removals(platform: Site, make_key: Make, role: Role):
    assert platform.client.post("/v1/removals", **signed(platform, make_key(role), REPORT)).status_code == 403


# ── routes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_route_that_declares_nothing_cannot_be_made():
    app = guarded_app(title="t", description="d", version="1")
    with pytest.raises(ConfigurationError, match="declares no verb"):
        app.get("/secret")(lambda: None)
    app.mount("/other", app=guarded_app(title="t", description="d", version="1"))
    with pytest.raises(ConfigurationError, match="nobody guards"):
        routes_and_verbs(app)


def test_all_that_needs_no_key_is_health(platform: Site):
    open_to_all = {
        route.path for route in routes_and_verbs(platform.application.app) if route.needs == ANYBODY
    }
    assert open_to_all == {"/healthz"}


def test_a_receipt_of_the_platforms_is_signed_like_any_other(platform: Site, make_key: Make):
    answer = platform.client.post("/v1/reports", json=REPORT, headers=make_key(Role.SUPPORT).headers)
    trusted = PublicKeys.beside(platform.world.home / "keys", name=RECEIPT)
    assert receipts.checked(answer.json(), trusted) is receipts.Verdict.VALID
