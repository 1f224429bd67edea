"""Who may call whom, read off the template: only the web processes are called, each by whom it is for."""

import re
from pathlib import Path

import pytest
from deployed_stack import ours

pytestmark = pytest.mark.thorough  # cfn-lint, which reads the template, takes seconds to load

ROOT = Path(__file__).parents[2]
CALLED = {
    "WebPublicGroup": ("LoadBalancerSecurityGroupId", "public"),
    "WebPlatformGroup": ("PlatformSecurityGroupId", "platform"),
}


def test_only_the_web_processes_are_called_each_by_whom_it_is_for_on_its_own_port(template):
    groups = ours(template, "AWS::EC2::SecurityGroup")
    assert {name for name, one in groups.items() if "SecurityGroupIngress" in one} == set(CALLED)
    for name, (caller, kind) in CALLED.items():
        condition, rules, nobody = groups[name]["SecurityGroupIngress"]["Fn::If"]
        (compared,) = template["Conditions"][condition]["Fn::Not"]
        assert sorted(compared["Fn::Equals"], key=str) == ["", {"Ref": caller}]  # the reader sorts them
        assert nobody == {"Ref": "AWS::NoValue"}
        (rule,) = rules
        assert rule["SourceSecurityGroupId"] == {"Ref": caller}
        assert rule["FromPort"] == rule["ToPort"] == port_of(kind)


def port_of(kind):
    """Where the unit of a web process listens."""
    unit = (ROOT / "infra" / "systemd" / f"coverguard-web-{kind}.service").read_text("utf-8")
    return int(re.search(r"^ExecStart=.* --port (\d+)$", unit, re.MULTILINE)[1])


def test_every_process_reaches_https_and_the_ledger_and_the_ledger_lets_it_in(template):
    groups = ours(template, "AWS::EC2::SecurityGroup")
    for one in groups.values():
        https, ledger = one["SecurityGroupEgress"]
        assert (https["FromPort"], https["ToPort"]) == (443, 443)
        assert (ledger["FromPort"], ledger["ToPort"]) == (5432, 5432)
        assert ledger["DestinationSecurityGroupId"] == {"Ref": "DatabaseSecurityGroupId"}
    let_in = ours(template, "AWS::EC2::SecurityGroupIngress").values()
    assert {one["SourceSecurityGroupId"]["Fn::GetAtt"][0] for one in let_in} == set(groups)
    for one in let_in:
        assert (one["FromPort"], one["ToPort"]) == (5432, 5432)
        assert one["GroupId"] == {"Ref": "DatabaseSecurityGroupId"}
    for name, one in template["Resources"].items():  # without a network of its own there is nothing of it
        assert (one["Type"].startswith("AWS::EC2::")) == (one.get("Condition") == "InVpc"), name
