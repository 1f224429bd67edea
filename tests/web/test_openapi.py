"""What the interfaces say of themselves is published, and they keep to it whatever they are sent."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from sites import Key, Site

from coverguard.access import Role

pytestmark = pytest.mark.thorough

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
)
ROOT = pathlib.Path(__file__).parents[2]


def script():
    spec = importlib.util.spec_from_file_location("write_openapi", ROOT / "scripts" / "write_openapi.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_published_descriptions_are_not_out_of_date():
    assert script().main(["--check"]) == 0


def test_a_stale_description_is_noticed(tmp_path, monkeypatch, capsys):
    openapi = script()
    monkeypatch.setattr(openapi, "FOLDER", tmp_path)
    assert openapi.main(["--check"]) == 1
    assert openapi.main([]) == 0
    assert openapi.main(["--check"]) == 0
    (tmp_path / "old.json").touch()
    assert openapi.main(["--check"]) == 1
    assert "old.json" in capsys.readouterr().err


def fuzz(site: Site, headers: dict[str, str], *, examples: int) -> int:
    """Send each operation what fits its description and what does not; return how many operations."""
    description = site.application.app.openapi()
    found = schemathesis.openapi.from_dict(description)
    found.config.update(base_url=site.address)
    count = 0
    for operation in found.get_all_operations():
        operation = operation.ok()  # noqa: PLW2901 - an operation that cannot be described is an error
        _try(operation, headers, examples=examples)
        count += 1
    return count


def _try(operation, headers: dict[str, str], *, examples: int) -> None:
    for mode in schemathesis.GenerationMode:
        cases = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=cases)
        def send(case) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        with suppress(Unsatisfiable):  # there is nothing to do wrong
            send()


def test_nothing_that_the_public_sends_is_a_fault_of_ours_or_an_answer_that_nobody_described(public: Site):
    assert fuzz(public, {}, examples=12) > 10


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.HOTLINE])
def test_nothing_that_a_key_sends_is_either(platform: Site, make_key: Callable[..., Key], role: Role):
    assert fuzz(platform, make_key(role).headers, examples=12) > 4
