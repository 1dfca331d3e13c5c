"""A node whose PACS does not take every class of results, whose profiles are edited, and whose checks find something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import made_study
from tests.dicom_node.peers import AnsweringScp
from tests.made_rows import SOP_CLASSES
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

TAKEN = ("seg", "sr_comprehensive", "sr_text", "sc")
BROKEN = '''"""Has the check of Segmentations find something, in whichever process of the node makes them."""

import importlib.abc
import importlib.util
import sys
from dataclasses import replace


class Breaks(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "dicom_node.results.encode":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.TYPES["seg"] = replace(module.TYPES["seg"], check=lambda *_: ["segment 1 lies upside down"])

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Breaks())
'''


def pacs(port: int, **more: Any) -> dict[str, Any]:
    place = {"name": "pacs", "type": "dicom", "ae_title": "PACS1", "address": "127.0.0.1", "port": port}
    return place | {"retry": {"first_s": 0.2, "max_s": 1}} | more


def tree(port: int) -> dict[str, Any]:
    route = {"name": "ct", "when": {"Modality": "CT"}, "models": ["ct_lung_density"], "destinations": ["pacs"]}
    return configuration(routes=[route], destinations=[pacs(port)], completeness={"settle_s": 0.2}) | {
        "node": {"port": free_port(), "data_folder": "data", "acceptors": 1}
    }


@pytest.fixture
def old_pacs() -> Iterator[AnsweringScp]:
    """It knows Segmentation, Comprehensive SR and older ones, but not Comprehensive 3D SR."""
    scp = AnsweringScp(free_port())
    with scp.running(abstract_syntaxes=[SOP_CLASSES[kind] for kind in TAKEN]):
        yield scp


def arrived(node: NodeUnderTest, scp: AnsweringScp, uid: str) -> list[str]:
    account = node.account(uid)
    assert account
    return sorted(item.result.kind for item in account.results if item.result.sop_instance_uid in scp.received)


def test_a_pacs_without_comprehensive_3d_sr_gets_the_next_best_and_explain_says_so_until_its_profile_is_edited(
    tmp_path: Path, old_pacs: AnsweringScp, peer: Callable[[str], str]
) -> None:
    settings = tree(old_pacs.port)
    node = NodeUnderTest(tmp_path, settings)
    first, second = made_study(tmp_path, "profiles-1"), made_study(tmp_path, "profiles-2")
    with node.running():
        storescu(peer("storescu"), node.port, *first.files)
        wait_until(lambda: node.settled(first.uid))
        edited = deepcopy(settings)
        edited["destinations"][0]["profile"] = "text"
        edited["profiles"] = [{"name": "text", "results": ["sr_text"]}]
        node.config_path.write_text(yaml.safe_dump(edited))
        wait_until(lambda: node.stores.events.count("config_reloaded") == 1)
        wait_until(lambda: node.log().count("configuration taken up") == len(node.process_names))
        storescu(peer("storescu"), node.port, *second.files)
        wait_until(lambda: node.settled(second.uid))
    assert arrived(node, old_pacs, first.uid) == ["sc", "seg", "sr_comprehensive"]
    told = node.cli("explain", first.uid).stdout
    assert "PACS1 does not accept Comprehensive 3D SR Storage" in told
    assert "Comprehensive SR goes in its place" in told
    assert "in place of SR, which pacs did not take" in told
    assert "results delivered" in told
    assert node.stores.events.count("delivery_refused") == 0
    assert arrived(node, old_pacs, second.uid) == ["sr_text"]
    assert "substituted" in node.cli("status").stdout


def test_a_segmentation_that_fails_its_checks_stays_here_with_an_alarm_and_the_others_go_out(
    tmp_path: Path, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(BROKEN)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}:{root}")
    scp, study = AnsweringScp(free_port()), made_study(tmp_path, "quarantine")
    node = NodeUnderTest(tmp_path, tree(scp.port))
    with scp.running(), node.running():
        storescu(peer("storescu"), node.port, *study.files)
        wait_until(lambda: node.settled(study.uid))
    assert arrived(node, scp, study.uid) == ["sc", "sr-alone"]
    account = node.account(study.uid)
    assert account
    assert account.standing == "analysed, but a result failed its checks and is kept back"
    (kept,) = (item.result for item in account.results if item.result.faults)
    assert (kept.kind, kept.faults) == ("seg", ("segment 1 lies upside down",))
    assert kept.object_key.startswith("quarantine/")
    assert node.stores.objects.get(kept.object_key)
    assert kept.sop_instance_uid not in scp.received
    (alarm,) = (event for event in account.events if event.kind == "result_quarantined")
    assert alarm.severity == "alarm"
    told = node.cli("explain", study.uid).stdout
    assert "quarantined" in told
    assert "segment 1 lies upside down" in told
    assert f"kept under {kept.object_key}" in told
    assert "results in quarantine" in node.cli("status").stdout
