"""A stack's outputs become settings: all of them, and nothing that is none."""

import importlib.util
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from deployed_stack import PARAMETERS, described_as

from coverguard import settings
from coverguard.errors import ConfigurationError

pytestmark = pytest.mark.thorough  # cfn-lint, which reads the template, takes seconds to load

SCRIPT = Path(__file__).parents[2] / "scripts" / "stack_settings.py"
QUEUES = {
    "Uploads": "uploads",
    "AccountEvents": "account-events",
    "Reports": "reports",
    "SweepShards": "sweep-shards",
}


@pytest.fixture(scope="module")
def script():
    return load_script()


def load_script():
    spec = importlib.util.spec_from_file_location("stack_settings", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def outputs(template):
    """What a deployed stack would say, by the template's own list of outputs."""
    values = {name: f"{name.lower()}-value" for name in template["Outputs"]}
    values["PublicUrl"] = PARAMETERS["PublicUrl"]
    values["Database"] = PARAMETERS["DatabaseUrl"]
    values["AlarmTopic"] = "arn:aws:sns:us-east-1:000000000000:coverguard-alarms"
    values |= {f"Queue{name}": f"https://sqs.example.org/0/coverguard-{one}" for name, one in QUEUES.items()}
    return values | {
        f"Topic{name}": f"https://sqs.example.org/0/{name.lower()}" for name in ("Pipeline", "Safety")
    }


def load(text, folder):
    (folder / settings.FILE).write_text(text, "utf-8")
    return settings.load(folder)


def test_outputs_are_exactly_what_the_settings_need(script, outputs, tmp_path):
    read = load(script.document(outputs), tmp_path)
    assert read.object_store == "s3"
    assert not read.embedded
    assert dict(read.queues) == {
        one: f"https://sqs.example.org/0/coverguard-{one}" for one in QUEUES.values()
    }
    assert set(read.topics) == {"pipeline", "safety"}
    assert read.renditions == ("publicbucket-value:covers/{surface}/{id}/{version}/{*}",)
    # every setting that names a resource is filled: a new one needs an output
    # but for buckets that lists are loaded from: they are whose lists they are, and no resource of the stack
    resources = ("bucket", "kms_key", "distribution", "topic", "database", "public_url")
    unfilled = [
        one.name for one in fields(settings.Settings)
        if any(word in one.name for word in resources) and getattr(read, one.name) in ("", one.default)
        and one.name != "list_buckets"
    ]  # fmt: skip
    assert unfilled == []


def test_what_is_only_there_on_demand_may_be_missing(script, outputs, tmp_path):
    for name in ("CloudfrontDistribution", "Database"):
        del outputs[name]
    read = load(script.document(outputs, renditions=["a/{surface}/{id}/{version}"]), tmp_path)
    assert read.cloudfront_distribution == ""
    assert read.renditions == ("publicbucket-value:a/{surface}/{id}/{version}",)


@pytest.mark.parametrize("name", ["VaultBucket", "HeadsBucket", "VaultKmsKey", "PublicUrl", "QueueReports"])
def test_a_missing_output_is_an_error(script, outputs, name):
    del outputs[name]
    with pytest.raises(ConfigurationError):
        script.document(outputs)


def test_an_output_that_is_no_setting_is_an_error(script, outputs):
    with pytest.raises(ConfigurationError, match="surprise"):
        script.document({**outputs, "Surprise": "x"})


def test_as_a_command(outputs):
    for given, code in ((described_as(outputs), 0), ('{"Stacks": []}', 2)):
        done = subprocess.run(
            [sys.executable, SCRIPT], input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert bool(done.stdout) == (code == 0)
