"""Generated files are what the code says now."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["draw_states", "write_schemas"])
def test_generated_files_are_not_out_of_date(name):
    assert script(name).main(["--check"]) == 0


def test_a_stale_page_is_noticed(tmp_path, monkeypatch, capsys):
    states = script("draw_states")
    monkeypatch.setattr(states, "TARGET", tmp_path / "states.md")
    assert states.main(["--check"]) == 1
    assert states.main([]) == 0
    assert states.main(["--check"]) == 0
    (tmp_path / "states.md").write_text(states.page() + "more", "utf-8")
    assert states.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err


def test_a_stale_schema_is_noticed(tmp_path, monkeypatch, capsys):
    schemas = script("write_schemas")
    monkeypatch.setattr(schemas, "FOLDER", tmp_path)
    assert schemas.main(["--check"]) == 1
    assert schemas.main([]) == 0
    assert schemas.main(["--check"]) == 0
    (tmp_path / "old.schema.json").touch()
    assert schemas.main(["--check"]) == 1
    assert "old.schema.json" in capsys.readouterr().err
