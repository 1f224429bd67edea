"""Figures of the whole ledger: what is unfinished, how old it is, and how long covers stayed public."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import GATED, WATCHED, exact, picture

from coverguard.store import figures

MINUTE = timedelta(minutes=1)
NOTHING = figures.Standing(
    outbox_owed=0, outbox_oldest=0, unanswered=0, unanswered_oldest=0, not_gone=0, not_gone_oldest=0,
    audit_unsealed=0, audit_unsealed_oldest=0, takedowns_unverified=0, takedowns_unverified_oldest=0,
)  # fmt: skip


def standing(world):
    with world.database.reading() as tx:
        return figures.standing(tx, now=world.clock.now())


def value(world, name, **labels):
    return world.parts.log.metrics.registry.get_sample_value(f"coverguard_{name}", labels)


def finish(world):
    for step in world.keeper.acts():
        step()


def test_nothing_is_unfinished_where_nothing_is(world):
    assert standing(world) == NOTHING
    world.list_of(exact(picture(1)))
    world.upload(picture(1), surface=WATCHED)
    world.clock.go_on(MINUTE)
    finish(world)
    assert standing(world) == NOTHING


@pytest.mark.thorough
def test_what_is_unfinished_has_its_age(world):
    world.list_of(exact(picture(1)))
    world.probe.blind = True
    world.upload(picture(1), "held", surface=WATCHED)
    world.clock.go_on(MINUTE)
    found = standing(world)
    assert (found.not_gone, found.not_gone_oldest) == (1, 60)
    assert (found.outbox_owed, found.outbox_oldest) == (3, 60)
    assert found.audit_unsealed >= 2
    assert found.audit_unsealed_oldest == 60
    world.keeper.watch.take_figures()
    assert value(world, "holds_not_gone") == 1
    assert value(world, "holds_not_gone_oldest_seconds") == 60
    assert value(world, "outbox_owed") == 3
    assert value(world, "audit_unsealed_oldest_seconds") == 60
    assert value(world, "figures_at_seconds") == world.clock.now() / 1e6
    world.probe.blind = False
    finish(world)
    assert standing(world) == NOTHING


@pytest.mark.thorough
def test_an_account_that_is_to_be_dark_counts_until_that_is_proven(world):
    def drive():
        for _ in range(4):
            world.clock.go_on(timedelta(seconds=6))
            for step in world.keeper.steps():
                step()

    world.upload(picture(1), uploader="her", surface=WATCHED)
    world.probe.blind = True
    world.deliver(world.message("account.terminated", account_id="her", reason="child_safety"))
    begun = world.rows("takedown")[0].requested_at
    for _ in range(2):
        found, age = standing(world), (world.clock.now() - begun) / 1e6
        assert (found.takedowns_unverified, found.takedowns_unverified_oldest) == (1, age)
        drive()  # dark by our own word, which proves nothing
    assert world.rows("takedown")[0].state == "dark"
    world.keeper.watch.take_figures()
    assert value(world, "takedowns_not_verified") == 1
    assert value(world, "takedowns_not_verified_oldest_seconds") == (world.clock.now() - begun) / 1e6
    world.probe.blind = False
    world.clock.go_on(MINUTE)
    drive()
    assert world.rows("takedown")[0].state == "verified_gone"
    assert standing(world).takedowns_unverified == 0
    world.upload(picture(2), "late", uploader="her", surface=WATCHED)
    reopened = standing(world)
    assert reopened.takedowns_unverified == 1
    assert reopened.takedowns_unverified_oldest < MINUTE.total_seconds(), "since it appeared, not since then"
    world.deliver(world.message("account.reinstated", account_id="her"))
    assert standing(world).takedowns_unverified == 0, "it is to be shown again"


def test_an_announced_cover_without_an_answer_is_counted(world):
    upload = world.announce(picture(1))
    with world.database.transaction() as tx:
        tx.exec_driver_sql(
            "CREATE TRIGGER no_answer BEFORE INSERT ON screening BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    with pytest.raises(Exception, match="x"):
        world.deliver(upload.body)
    with world.database.transaction() as tx:
        tx.exec_driver_sql("DROP TRIGGER no_answer")
    world.clock.go_on(MINUTE)
    assert (standing(world).unanswered, standing(world).unanswered_oldest) == (1, 60)
    world.deliver(upload.body)
    assert standing(world).unanswered == 0


def test_a_row_that_committed_late_is_still_unsealed(world):
    """Its id is lower than that of the newest link."""
    world.list_of(exact(picture(1)))
    world.upload(picture(1))
    finish(world)
    with world.database.transaction() as tx:
        tx.exec_driver_sql("DELETE FROM audit_chain WHERE audit_id = 1")
    assert standing(world).audit_unsealed == 1


# ── from message to unreachable ────────────────────────────────────────────────────────────────────────────


def counted(world):
    return value(world, "unreachable_seconds_count"), value(world, "unreachable_seconds_sum")


def test_time_to_unreachable_is_counted_once_a_cover(world):
    world.list_of(exact(picture(1)))
    world.keeper.watch.take_figures()
    small = world.rendition("c1")
    upload = world.announce(picture(1), "c1", surface=WATCHED, renditions=[small])
    world.deliver(upload.body, sent_at=world.clock.now())
    assert len(world.holds(upload)) == 2
    for _ in range(3):
        world.clock.go_on(timedelta(seconds=10))
        world.keeper.watch.take_figures()
    assert counted(world) == (1, 2), "its own object, two seconds after its message"
    world.clock.go_on(timedelta(hours=2))
    world.keeper.verify_gone()
    world.keeper.watch.take_figures()
    assert counted(world) == (1, 2), "asked again is not gone again"


def test_it_counts_until_somebody_saw_it_gone(world):
    world.list_of(exact(picture(1)))
    world.keeper.watch.take_figures()
    world.probe.blind = True
    upload = world.announce(picture(1), "c1", surface=WATCHED)
    world.deliver(upload.body, sent_at=world.clock.now())
    world.keeper.watch.take_figures()
    assert counted(world) == (0, 0)
    world.clock.go_on(5 * MINUTE)
    world.probe.blind = False
    world.keeper.verify_gone()
    world.keeper.watch.take_figures()
    assert counted(world) == (1, 302)


def test_a_keeper_that_was_slow_misses_none_and_a_new_one_counts_none_again(world):
    world.list_of(exact(picture(1)))
    world.keeper.watch.take_figures()
    world.upload(picture(1), "c1", surface=WATCHED)
    world.clock.go_on(10 * MINUTE)
    world.upload(picture(1), "c2", surface=WATCHED)
    world.clock.go_on(10 * MINUTE)
    world.keeper.watch.take_figures()
    assert counted(world)[0] == 2
    world.parts.keeper().watch.take_figures()
    assert counted(world)[0] == 2


def test_what_the_public_never_saw_counts_too(world):
    world.list_of(exact(picture(1)))
    world.keeper.watch.take_figures()
    world.upload(picture(1), "c1", surface=GATED)
    world.keeper.watch.take_figures()
    assert counted(world)[0] == 1
