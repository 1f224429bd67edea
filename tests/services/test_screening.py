"""One upload in, one answer recorded, every act done: each decision in both modes, message to stranger."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import GATED, WATCHED, altered, exact, fingerprint, near, picture

from coverguard.errors import BadMessage
from coverguard.model import Algorithm, Category, Done, ListAction, Mode, Opinion, Reject, Surface
from coverguard.store import cases
from coverguard.testing.pictures import Alteration, Kind

MODES = pytest.mark.parametrize("surface", [GATED, WATCHED], ids=["gate", "watch"])


def facts(world, upload):
    """What a decision left behind: decision, events, holds, whether strangers and the vault have it."""
    return {
        "answer": world.answer(upload).decision,
        "told": world.types(upload=upload),
        "holds": [(level, state) for level, state, _, _ in world.holds(upload)],
        "served": world.served(upload.ref),
        "vault": len(world.vault()),
        "items": [item.state for item in world.items(upload)],
    }


# ── the decisions, in both modes ───────────────────────────────────────────────────────────────────────────


@MODES
def test_pass(world, surface):
    world.list_of(near(picture(2)), exact(picture(2)))
    upload = world.upload(picture(1), surface=surface)
    assert upload.outcome == Done(note="pass")
    assert facts(world, upload) == {
        "answer": "pass", "told": ["cover.cleared"], "holds": [], "served": True, "vault": 0, "items": [],
    }  # fmt: skip
    assert world.types("safety") == []
    assert world.rows("audit") == []
    assert world.answer(upload).settled_at
    (event,) = world.told()
    assert event.object.ref() == upload.ref
    assert event.sha256 == fingerprint(picture(1)).digests["sha256"].hex()


@MODES
@pytest.mark.parametrize("row", [near(picture(1)), exact(picture(1)), exact(picture(1), Algorithm.MD5)],
                         ids=["near", "sha256", "md5"])  # fmt: skip
def test_hold(world, surface, row):
    world.list_of(row)
    upload = world.upload(picture(1), surface=surface, uploader="mallory")
    assert upload.outcome == Done(note="hold")
    assert facts(world, upload) == {
        "answer": "hold", "told": ["cover.withheld"], "holds": [("hold", "held")], "served": False,
        "vault": 1, "items": ["open"],
    }  # fmt: skip
    assert world.vault() == [picture(1)]
    assert world.types("safety") == ["match.found", "account.flagged"]
    found, flagged = world.told("safety")
    assert (found.decision, found.category) == ("hold", "child_abuse")
    assert found.match_type == ("near" if row.algorithm.perceptual else "exact")
    assert flagged.account_id == "mallory"
    (held,) = world.rows("quarantine")
    assert held.blocked_at
    assert held.gone_at
    assert held.sha256 == fingerprint(picture(1)).digests["sha256"]
    assert world.item(upload).consequences
    assert world.owed(upload).keys() == {"review"}
    assert world.answer(upload).settled_at
    assert world.alarms() == []


REFERRED = [
    # surface, category, told, holds, served
    (GATED, Category.CHILD_ABUSE, ["cover.withheld"], [], True),
    (GATED, Category.OTHER, ["cover.withheld"], [], True),
    (WATCHED, Category.CHILD_ABUSE, ["cover.withheld"], [("block", "held")], False),
    (WATCHED, Category.INTIMATE_IMAGE, ["cover.withheld"], [("block", "held")], False),
    (WATCHED, Category.TERRORISM, [], [], True),
    (WATCHED, Category.OTHER, [], [], True),
]


@pytest.mark.parametrize("case", REFERRED)
def test_refer(world, case):
    surface, category, told, holds, served = case
    world.list_of(near(picture(1)), action=ListAction.REFER, category=category)
    upload = world.upload(picture(1), surface=surface)
    assert facts(world, upload) == {
        "answer": "refer", "told": told, "holds": holds, "served": served, "vault": 0, "items": ["open"],
    }  # fmt: skip
    assert world.answer(upload).reason == "list_refers"
    assert world.types("safety") == ["match.found", "account.flagged"]
    assert world.told("safety")[0].decision == "refer"
    assert world.owed(upload).keys() == {"review"}
    assert world.answer(upload).settled_at


@pytest.mark.parametrize(
    ("row", "rule", "reason"),
    [
        (near(picture(1), algorithm=Algorithm.PHASH256), {"phash256_radius": 20}, "second_opinion_only"),
        (near(picture(1), bits=35), {"pdq_radius": 40}, "review_tier_only"),
    ],
    ids=["phash", "beyond 31"],
)
def test_what_only_refers_though_the_list_may_hold(world, row, rule, reason):
    world.list_of(row, **rule)
    upload = world.upload(picture(1))
    assert (world.answer(upload).decision, world.answer(upload).reason) == ("refer", reason)


@MODES
@pytest.mark.parametrize(
    ("how", "found"),
    [(Alteration.MIRRORED, "hold"), (Alteration.ROTATED_90, "hold"), (Alteration.JPEG_Q92, "hold")],
)
def test_an_altered_copy_is_found(world, surface, how, found):
    world.list_of(near(picture(1), bits=0))
    assert world.answer(world.upload(altered(1, how), surface=surface)).decision == found


@MODES
def test_a_second_delivery_changes_nothing(world, surface):
    world.list_of(near(picture(1)))
    uploads = [
        world.upload(picture(1), "held", surface=surface),
        world.upload(picture(2), "passed", surface=surface),
        world.upload(b"no picture", "unread", surface=surface),
    ]
    before = world.everything()
    for upload in uploads:
        again = world.deliver(upload.body, attempt=2)
        assert again == upload.outcome
    assert world.everything() == before
    assert world.vault() == [picture(1)]


def test_a_redelivery_does_not_judge_again_by_newer_lists(world):
    """That is for the sweep; the key of an upload's answer has no place for a second one."""
    upload = world.upload(picture(1))
    world.list_of(near(picture(1)))
    world.deliver(upload.body)
    assert world.answer(upload).decision == "pass"


@pytest.mark.thorough
def test_modes_are_set_by_surface(make_world):
    other = make_world(modes=dict.fromkeys(Surface, Mode.GATE))
    assert other.cover(other.upload(picture(1), surface=WATCHED)).mode == "gate"
    other = make_world()
    assert [other.cover(other.upload(picture(1), surface=one)).mode for one in Surface] == [
        "gate", "watch", "gate",
    ]  # fmt: skip


# ── what is recorded ───────────────────────────────────────────────────────────────────────────────────────


def test_the_answer_says_what_it_was_judged_at(world):
    first = world.upload(picture(2), "before")
    world.list_of(near(picture(1), bits=7))
    upload = world.upload(picture(1))
    newest = world.rows("list_change")[-1].seq
    assert world.answer(first).judged_seq == 0
    assert world.answer(upload).judged_seq == newest
    (match,) = world.matches(upload)
    assert (match.distance, match.algorithm, match.view, match.judged_seq) == (7, "pdq", "displayed", newest)
    stored = world.rows("fingerprint", cover_version_id=world.cover(upload).id)[0]
    assert (stored.judged_seq, stored.format, stored.width) == (newest, "png", 128)
    assert stored.sha256 == fingerprint(picture(1)).digests["sha256"]
    views = world.rows("fingerprint_view", fingerprint_id=stored.id)
    seen = {one.name: one.signals["pdq"] for one in fingerprint(picture(1)).views}
    assert {view.name: view.pdq for view in views if not view.name.startswith("list/")} == seen


def test_a_review_is_owed_in_time_and_not_later_for_a_second_look(world):
    world.list_of(near(picture(1)))
    upload = world.upload(picture(1))
    due = world.owed(upload)["review"]
    assert due == world.answer(upload).decided_at + 24 * 3600 * 10**6
    world.deliver(upload.body)
    assert world.owed(upload)["review"] == due


def test_clearing_takes_two_where_any_list_is_of_known_material(world):
    world.list_of(near(picture(1)), name="known")
    world.list_of(near(picture(1)), near(picture(2)), name="own", known=False)
    assert world.item(world.upload(picture(1), "c1")).two_people
    assert not world.item(world.upload(picture(2), "c2")).two_people


# ── low information ────────────────────────────────────────────────────────────────────────────────────────


def test_low_information_passes_and_says_so(world):
    plain = picture(1, Kind.GRADIENT)
    assert all(view.quality < 50 for view in fingerprint(plain).views)
    world.list_of(near(plain, bits=0))
    upload = world.upload(plain)
    assert (world.answer(upload).decision, world.answer(upload).low_information) == ("pass", True)
    assert world.matches(upload) == []
    assert world.types() == ["cover.cleared"]
    assert not world.answer(world.upload(picture(2), "c2")).low_information


def test_low_information_is_still_held_by_its_digest(world):
    plain = picture(1, Kind.GRADIENT)
    world.list_of(exact(plain))
    upload = world.upload(plain)
    assert world.answer(upload).decision == "hold"
    assert not world.answer(upload).low_information


# ── lists that do less ─────────────────────────────────────────────────────────────────────────────────────


def test_a_shadow_list_only_records(world):
    world.list_of(near(picture(1)), exact(picture(1)), action=ListAction.SHADOW)
    upload = world.upload(picture(1))
    assert facts(world, upload)["told"] == ["cover.cleared"]
    assert facts(world, upload)["answer"] == "pass"
    assert {(match.algorithm, match.action) for match in world.matches(upload)} == {
        ("pdq", "shadow"), ("sha256", "shadow"),
    }  # fmt: skip
    assert world.items(upload) == []
    assert world.types("safety") == []


def test_a_shadow_list_does_not_weaken_another(world):
    world.list_of(near(picture(1)), name="shadow", action=ListAction.SHADOW)
    world.list_of(near(picture(1)), name="holding")
    upload = world.upload(picture(1))
    assert world.answer(upload).decision == "hold"
    assert sorted(match.action for match in world.matches(upload)) == ["hold", "shadow"]


def test_a_switched_off_list_does_not_match(world):
    listed = world.list_of(near(picture(1)))
    world.switch(listed, enabled=False)
    upload = world.upload(picture(1), "off")
    assert (world.answer(upload).decision, world.matches(upload)) == ("pass", [])
    world.switch(listed, enabled=True)
    assert world.answer(world.upload(picture(1), "on")).decision == "hold"


def test_a_withdrawn_entry_does_not_match(world):
    listed = world.list_of(near(picture(1)))
    world.withdraw(listed, near(picture(1)))
    assert world.answer(world.upload(picture(1))).decision == "pass"


def test_a_seed_refers_and_a_negative_says_nothing(world):
    seed, negative = near(picture(1)), near(picture(2))
    world.list_of(
        type(seed)(**_facts(seed), opinion=Opinion.SEED),
        type(seed)(**_facts(negative), opinion=Opinion.NEGATIVE),
    )
    upload = world.upload(picture(1), "seed")
    assert (world.answer(upload).decision, world.answer(upload).reason) == ("refer", "seed_only")
    assert world.answer(world.upload(picture(2), "negative")).decision == "pass"


def _facts(row):
    return {"source_entry_id": row.source_entry_id, "algorithm": row.algorithm, "digest": row.digest}


def test_a_list_switched_off_between_match_and_answer_still_blocks(world):
    """What this process knows of lists may be a second old; the match stands, consequences do not follow."""
    listed = world.list_of(near(picture(1)))
    world.upload(picture(2), "warm")  # now the snapshot is known
    world.switch(listed, enabled=False)
    announced = world.announce(picture(1), "raced", surface=WATCHED)
    world.clock.go_on(timedelta(seconds=-2))  # the same moment
    world.deliver(announced.body)
    assert world.answer(announced).decision == "hold"
    assert not world.served(announced.ref)
    assert not world.item(announced).consequences


# ── budgets ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_spent_budget_stops_consequences_and_never_protection(world):
    listed = world.list_of(*(near(picture(seed)) for seed in (1, 2, 3)), hold_budget=2)
    uploads = [world.upload(picture(n), f"c{n}", uploader=f"u{n}", surface=WATCHED) for n in (1, 2, 3)]
    assert [world.answer(one).budget_spent for one in uploads] == [None, None, f"list:{listed}"]
    assert [world.served(one.ref) for one in uploads] == [False] * 3
    assert [world.item(one).consequences for one in uploads] == [True, True, False]
    assert len(world.vault()) == 3
    flagged = [event.account_id for event in world.told("safety") if event.type == "account.flagged"]
    assert flagged == ["u1", "u2"]
    assert world.types("safety").count("match.found") == 3
    assert world.alarms() == [("hold_budget_spent", f"list:{listed}")]


@pytest.mark.thorough
def test_the_budget_of_all_lists_together(make_world):
    world = make_world(hold_budget=1)
    world.list_of(near(picture(1)), name="one")
    world.list_of(near(picture(2)), name="two")
    first, second = world.upload(picture(1), "c1"), world.upload(picture(2), "c2")
    assert [world.answer(one).budget_spent for one in (first, second)] == [None, "global"]
    assert not world.item(second).consequences
    assert [kind for kind, _ in world.alarms()] == ["hold_budget_spent"]


@pytest.mark.thorough
def test_exact_digests_are_neither_counted_nor_capped(world):
    world.list_of(exact(picture(1)), exact(picture(2)), near(picture(3)), near(picture(4)), hold_budget=1)
    spent = [world.answer(world.upload(picture(n), f"c{n}")).budget_spent for n in (1, 2, 3, 4)]
    assert spent[:3] == [None, None, None]
    assert spent[3]
    world.list_of(exact(picture(5)))
    assert world.answer(world.upload(picture(5), "c5")).budget_spent is None


@pytest.mark.thorough
def test_a_budget_is_for_an_hour(world):
    world.list_of(near(picture(1)), near(picture(2)), near(picture(3)), hold_budget=1)
    world.upload(picture(1), "c1")
    assert world.answer(world.upload(picture(2), "c2")).budget_spent
    world.clock.go_on(timedelta(hours=1))
    assert world.answer(world.upload(picture(3), "c3")).budget_spent is None


@pytest.mark.thorough
def test_an_account_is_flagged_by_its_first_match_that_has_consequences(world):
    """A case that a capped match opened must not keep an exact one from being told."""
    world.list_of(near(picture(1)), exact(picture(2)), near(picture(3)), hold_budget=0)
    world.upload(picture(1), "capped")
    assert "account.flagged" not in world.types("safety")
    world.upload(picture(2), "exact")
    world.upload(picture(3), "capped again")
    assert world.types("safety").count("account.flagged") == 1


# ── messages that are refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bucket", ["vault", "elsewhere", "", "public/../vault"])
@pytest.mark.parametrize("place", ["object", "rendition"])
def test_a_message_that_points_elsewhere_is_refused_unread(world, bucket, place):
    made = world.announce(picture(1))
    elsewhere = type(made.ref)(bucket=bucket, key="raw/c1/1", version_id="1")
    if place == "object":
        upload = world.announce(picture(1), ref=elsewhere)
    else:
        upload = world.announce(picture(1), ref=made.ref, renditions=[elsewhere])
    with pytest.raises(BadMessage):
        world.deliver(upload.body)
    assert isinstance(world.settled(upload.body), Reject)
    assert world.rows("cover_version") == []
    assert world.rows("account") == []
    assert world.probe.asked == []


def test_a_cover_version_is_one_object(world):
    first = world.upload(picture(1))
    with pytest.raises(BadMessage, match="field object"):
        world.upload(picture(2), key="raw/other")
    with pytest.raises(BadMessage, match="field object"):
        world.upload(picture(2), key="raw/c1/1")  # the same key, another version of it
    assert isinstance(world.settled(world.announce(picture(2), key="raw/third").body), Reject)
    assert world.verdict_events(first) == [("cleared", 1)]
    assert len(world.rows("screening")) == 1


@pytest.mark.thorough
def test_the_same_id_on_another_surface_is_another_cover(world):
    world.list_of(near(picture(1)))
    one = world.upload(picture(1), "12", surface=WATCHED)
    other = world.upload(picture(2), "12", surface=Surface.TRACK_ART)
    longer = world.upload(picture(3), "123", surface=WATCHED)
    assert [world.answer(each).decision for each in (one, other, longer)] == ["hold", "pass", "pass"]
    assert world.served(longer.ref)


# ── cases ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thorough
def test_one_open_case_an_uploader(world):
    world.list_of(*(near(picture(seed)) for seed in range(1, 5)))
    world.list_of(near(picture(4)), name="grave", category=Category.CHILD_ABUSE)
    uploads = [world.upload(picture(n), f"c{n}", uploader="u1") for n in (1, 2, 3)]
    other = world.upload(picture(4), "c4", uploader="u2")
    files = world.rows("case_file")
    assert len(files) == 2
    assert {world.item(one).case_id for one in uploads} == {files[0].id}
    assert world.item(other).case_id == files[1].id
    assert world.types("safety").count("account.flagged") == 2
    with world.database.reading() as tx:
        parties = [(row.platform_id, row.role) for row in cases.parties(tx, files[0].id)]
        assert [row.items for row in cases.cases(tx)] == [3, 1]
    assert parties == [("u1", "uploader")]


def test_the_owner_of_a_playlist_is_not_the_uploader(world):
    """Guilty is nobody, least of all by link."""
    world.list_of(near(picture(1)))
    world.upload(picture(1), uploader="u1", owner="owner", playlist="p1")
    (flagged,) = [event for event in world.told("safety") if event.type == "account.flagged"]
    assert flagged.account_id == "u1"
    assert len(world.rows("party")) == 1
