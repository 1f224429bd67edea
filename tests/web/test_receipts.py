"""Signed documents and letter boxes: nothing can be changed, added or read that should not be."""

from __future__ import annotations

import copy
import pathlib
import re
from datetime import date, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard import contacts, receipts
from coverguard.correspondence import NamedCover, ReportDetails
from coverguard.errors import BadMessage, ConfigurationError, IntegrityFailure
from coverguard.local.boxes import Mailbox, StaffBox, seal, staff_public_key
from coverguard.local.keys import LocalSigner, PublicKeys
from coverguard.model import Category, Micros, ReporterKind, Surface
from coverguard.receipts import Filing, Targets, Verdict

SIGNER = LocalSigner(bytes(32))
TRUSTED = PublicKeys([SIGNER.public_pem()])
TARGETS = Targets(review=timedelta(hours=24), urgent=timedelta(hours=4))
EARLIER = "report-fedcba9876543210"
BEFORE = pathlib.Path(__file__).with_name("receipt_before.json")  # of code that knew no earlier reference
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def receipt(**told: object) -> dict:
    details = ReportDetails(category=told.pop("category", Category.CHILD_ABUSE), account_ids=["a"], **told)
    filing = Filing(
        reference="report-0123456789abcdef", at=Micros(1_800_000_000_000_000), source=ReporterKind.ANONYMOUS,
        told=details, public_covers={"a": 3},
    )  # fmt: skip
    return receipts.receipt(filing, TARGETS)


@given(document=st.dictionaries(st.text(max_size=5), VALUES, max_size=4), data=st.data())
def test_what_was_signed_is_valid_and_anything_else_is_not(document: dict, data: st.DataObject):
    document = {**document, "schema": "test/1"}
    envelope = receipts.signed(document, SIGNER)
    assert receipts.checked(copy.deepcopy(envelope), TRUSTED) is Verdict.VALID
    name = data.draw(st.sampled_from(sorted(document)))
    other = data.draw(VALUES)
    if repr(other) == repr(document[name]) or other == document[name]:
        return
    changed = {**envelope, "document": {**document, name: other}}
    assert receipts.checked(changed, TRUSTED) in {Verdict.CHANGED, Verdict.NOT_OURS}


@given(text=st.text(max_size=200) | st.sampled_from(["[" * 9_999, '{"a":1,"a":2}', "1e5", "NaN", "9" * 5000]))
def test_nothing_that_is_read_raises(text: str):
    assert receipts.checked(receipts.read(text), TRUSTED) is not Verdict.VALID


@given(envelope=VALUES)
def test_nothing_that_is_checked_raises(envelope: object):
    signature = {"algorithm": "Ed25519", "key_id": SIGNER.key_id, "value": "AAAA"}
    assert receipts.checked(envelope, TRUSTED) is Verdict.NOT_OURS
    within = {"document": {"schema": "x", "n": envelope}, "signature": signature}
    assert receipts.checked(within, TRUSTED) is Verdict.CHANGED


def test_a_lone_surrogate_or_a_fraction_is_not_what_we_signed():
    envelope = receipts.signed({"schema": "x", "n": 1}, SIGNER)
    for other in ("\ud800", 1.0, 1.5):
        assert (
            receipts.checked({**envelope, "document": {"schema": "x", "n": other}}, TRUSTED)
            is Verdict.CHANGED
        )


def test_one_kind_of_document_never_passes_for_another():
    envelope = receipts.signed({"schema": "coverguard.receipt/1"}, SIGNER)
    envelope["document"] = {"schema": "coverguard.transcript/1"}
    assert receipts.checked(envelope, TRUSTED) is Verdict.CHANGED


LEAKS = re.compile(
    r"hash|distance|digest|pdq|sha-?256|bucket|match|list name|suspect|score|threshold|other report",
    re.IGNORECASE,
)


@pytest.mark.parametrize(("category", "urgent", "opted_out", "country", "earlier"), [
    *product(Category, (False, True), (False, True), ("", "GB", "US"), ("", EARLIER)),
])  # fmt: skip
def test_a_receipt_leaks_nothing(category, urgent, opted_out, country, earlier):
    document = receipt(
        category=category, urgent=urgent, opted_out=opted_out, country=country, earlier_reference=earlier
    )
    text = receipts.canonical(document).decode()
    assert not LEAKS.search(text)
    assert document["named"] == [{"kind": "account", "id": "a", "public_covers": 3}]
    assert (("hidden" in str(document["next"])) is (category in receipts.HIDES)) is True
    assert ("told once" in str(document["next"])) is not opted_out


def test_a_receipt_names_each_thing_as_it_was_told():
    covers = [NamedCover(id="c", surface=Surface.TRACK_ART, version=7)]
    document = receipt(covers=covers, playlist_ids=["p"], text="words", contact="me")
    assert document["named"][0] == {"kind": "cover", "id": "c", "surface": "track_art", "version": 7}
    assert document["text_given"]
    assert document["contact_given"]
    assert "words" not in str(document)  # they are in the thread, for who has the token


def test_a_receipt_names_the_report_that_it_follows_on_by_the_reporters_word():
    document = receipt(earlier_reference=EARLIER)
    assert document["earlier_reference"] == EARLIER
    assert document["earlier_reference_text"].startswith(f"You told us that this follows on {EARLIER}.")
    without = receipt()
    assert (without["earlier_reference"], without["earlier_reference_text"]) == ("", "")
    names = {"earlier_reference", "earlier_reference_text"}
    kept = [{name: one[name] for name in one.keys() - names} for one in (document, without)]
    assert kept[0] == kept[1], "and changes nothing that is promised"


def test_a_receipt_of_before_still_holds_and_nothing_can_be_put_into_it():
    envelope = receipts.read(BEFORE.read_text("utf-8"))
    assert isinstance(envelope, dict)
    assert "earlier_reference" not in envelope["document"]
    assert receipts.checked(envelope, TRUSTED) is Verdict.VALID
    envelope["document"]["earlier_reference"] = EARLIER
    assert receipts.checked(envelope, TRUSTED) is Verdict.CHANGED


# ── contacts ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_country_has_an_emergency_number_somebody_for_children_and_an_owner():
    for country in ["", *(code for code, _ in contacts.countries())]:
        found = contacts.of(country)
        assert {"emergency", "child", "adult", "anyone"} <= {one.audience for one in found.contacts}
        assert next(iter(found.contacts)).audience == "emergency"
        assert {"Take It Down", "StopNCII.org"} <= {one.name for one in found.contacts}
        assert found.owner
        assert found.review_by > found.reviewed_on
    assert contacts.of("zz") is contacts.of("")


def test_a_review_that_is_late_is_found():
    assert not contacts.overdue(date(2026, 12, 1))
    late = contacts.overdue(date(2030, 1, 1))
    assert {one.partition(":")[0] for one in late} == set(contacts.every())
    help_ = contacts.of("")
    assert f"world: to be reviewed by {help_.review_by}, by the {help_.owner}" in late


# ── letter boxes ───────────────────────────────────────────────────────────────────────────────────────────


@given(plain=st.binary(max_size=300), context=st.binary(max_size=20), place=st.integers(0, 10_000))
def test_only_the_box_opens_a_letter_and_only_as_it_was_sealed(plain: bytes, context: bytes, place: int):
    box, other = Mailbox.of(bytes(32)), Mailbox.of(bytes([1]) * 32)
    letter = seal(box.public_key, plain, context=context)
    assert box.open(letter, context=context) == plain
    at = place % len(letter)
    broken = letter[:at] + bytes([letter[at] ^ 1]) + letter[at + 1 :]
    for who, what, where in ((other, letter, context), (box, letter, context + b"x"), (box, broken, context)):
        with pytest.raises(IntegrityFailure):
            who.open(what, context=where)
    assert seal(box.public_key, plain, context=context) != letter


def test_a_box_is_made_of_its_token_alone():
    token = bytes(range(32))
    assert Mailbox.of(token).public_key == Mailbox.of(token).public_key
    assert Mailbox.of(token).public_key.hex() == (
        "93b6dcd0280ff75de8bb8a51e94a84b025d189e0924070b5c60c3b02b022c850"
    )
    with pytest.raises(BadMessage):
        Mailbox.of(b"short")


@pytest.mark.parametrize("key", [b"", bytes(32), (1).to_bytes(32, "little"), bytes(33)])
def test_nothing_is_sealed_for_what_is_no_key(key: bytes):
    with pytest.raises(BadMessage):
        seal(key, b"x", context=b"")


def test_the_public_half_of_the_staffs_box_is_all_that_a_sealer_needs(tmp_path):
    home = tmp_path / "keys"
    with pytest.raises(ConfigurationError):
        staff_public_key(home)
    box = StaffBox.open_or_create(home)
    assert staff_public_key(home) == box.public_key
    assert StaffBox.open_or_create(home).open(seal(box.public_key, b"x", context=b"c"), context=b"c") == b"x"
    assert StaffBox.existing(home).public_key == box.public_key


def test_a_lost_key_of_the_staffs_box_is_not_made_anew(tmp_path):
    home = tmp_path / "keys"
    with pytest.raises(ConfigurationError, match=r"letters\.key is missing .* coverguard migrate"):
        StaffBox.existing(home)  # on several hosts each would make its own
    StaffBox.open_or_create(home)
    (home / "letters.key").unlink()
    for lost in (StaffBox.existing, StaffBox.open_or_create):
        with pytest.raises(ConfigurationError, match=r"letters\.key is missing"):
            lost(home)  # what is sealed for the old one could not be opened
    assert not (home / "letters.key").exists()
    (home / "letters.key").write_bytes(bytes(32))
    (home / "letters.key").chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"letters\.pub is not of"):
        StaffBox.open_or_create(home)
