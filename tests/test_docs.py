"""What the documents say is tried: commands are run, configurations loaded, links followed, codes and alarms counted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node import phantom
from dicom_node.config_file import load_config
from dicom_node.network.archive import Archive
from dicom_node.profiles import orders, usual_demand
from storage.objects import open_store
from tests.acceptance.node import NodeUnderTest
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FORBIDDEN = re.compile(r"\b(TODO|FIXME|XXX)\b|(?<![\w.])/(work|tmp|root|home)/")
ONE_PAGE_LINES = 90
README_ADDRESS = "127.0.0.1:11112"
INSTANCES = 40


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text_of(name)) if found == language]


COMMANDS = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
YAML_BLOCKS = blocks("README.md", "yaml")


def merged(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """All sections of all trees: lists one after the other, mappings together."""
    whole: dict[str, Any] = {}
    for tree in trees:
        for section, value in tree.items():
            if isinstance(value, list):
                whole[section] = [*whole.get(section, []), *value]
            else:
                whole[section] = {**whole.get(section, {}), **value}
    return whole


def whole_configuration() -> dict[str, Any]:
    return merged([yaml.safe_load(block) for block in YAML_BLOCKS])


@pytest.mark.parametrize("block", YAML_BLOCKS)
def test_each_configuration_of_the_readme_is_valid(block: str, tmp_path: Path) -> None:
    rest = {key: value for key, value in whole_configuration().items() if key in ("models", "destinations")}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(rest | yaml.safe_load(block)))
    load_config(path)


def test_the_configurations_of_the_readme_fit_together_and_show_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(whole_configuration()))
    config = load_config(path)
    assert not config.access.open
    assert {item.ae_title for item in config.access.requestors} >= {"CT1", "CT-ED"}
    assert [route.priority for route in config.routes].count("stat") == 1
    assert config.logging.format == "json"


def test_each_make_command_of_the_readme_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = [shlex.split(line)[1] for line in COMMANDS if line.startswith("make ")]
    assert named[:2] == ["demo", "test"]
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "$(STUDY)" in makefile


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeUnderTest]:
    """The node that the README configures, with its peers moved to this machine, beside a study to send."""
    pacs = Archive("PACS", tmp_path / "pacs")
    port = pacs.start()
    tree = whole_configuration()
    tree["node"] |= {"address": "127.0.0.1", "port": free_port()}
    tree["completeness"] = {"settle_s": 0.2}
    tree["storage"] = {"min_free_bytes": "50 MB"}
    for destination in tree["destinations"]:
        destination |= {"address": "127.0.0.1", "port": port}
    study = phantom.chest_ct(slices=INSTANCES, rows=128)
    for dataset in study.datasets:
        dataset.AccessionNumber = accession()
    study.write(tmp_path / "study")
    made = NodeUnderTest(tmp_path, tree)
    try:
        yield made
        if made.process:
            made.stop()
    finally:
        made.kill_all()
        pacs.stop()


def accession() -> str:
    return next(shlex.split(line)[2] for line in COMMANDS if line.startswith("dicom-node explain"))


def run(line: str, node: NodeUnderTest) -> str:
    """A line as a shell runs it in the folder of config.yaml; returns what it printed."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160", "NO_COLOR": "1"}
    line = line.replace(README_ADDRESS, f"127.0.0.1:{node.port}")
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=node.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{node.log() if node.process else ''}"
    return done.stdout


def serve(line: str, node: NodeUnderTest) -> None:
    with node.log_path.open("w") as log:
        node.process = subprocess.Popen(
            [BIN / "dicom-node", *shlex.split(line)[1:]], cwd=node.folder, stdout=log, stderr=log
        )
    wait_until(lambda: all(node.pid(name) for name in node.process_names))


def test_each_other_command_of_the_readme_does_what_it_says(node: NodeUnderTest) -> None:
    printed = {}
    for line in COMMANDS:
        if line.startswith("make "):
            continue
        if line.startswith("dicom-node serve"):
            serve(line, node)
            continue
        printed[line] = run(line, node)
        if line.startswith("dicom-node send"):
            wait_until(lambda: node.settled(accession()))
    explained = printed[f"dicom-node explain {accession()}"]
    assert "results delivered" in explained
    assert "route thin-chest-ct: " in explained
    assert f"{INSTANCES} instances delivered" in printed[f"dicom-node send study --to DICOM-NODE@{README_ADDRESS}"]
    assert "3 results put back" in printed[f"dicom-node requeue {accession()} --deliveries --destination pacs"]
    assert '"event": "listening"' in node.log()
    the_backup_holds_the_study(node)


def the_backup_holds_the_study(node: NodeUnderTest) -> None:
    copy = sqlite3.connect(node.folder / "backup" / "node.sqlite3")
    try:
        keys = [key for (key,) in copy.execute("select object_key from instance union select object_key from result")]
    finally:
        copy.close()
    assert len(keys) == INSTANCES + len(orders([usual_demand()])), "results, and those in reserve"
    objects = open_store((node.folder / "backup" / "objects").as_uri())
    assert all(objects.get(key) for key in keys)
    restored = node.folder / "restored.yaml"
    restored.write_text(yaml.safe_dump({"node": {"data_folder": "backup"}}))
    # What was queued again a moment before may be running in the copy.
    assert "SEG, SR and SC at pacs" in run(f"dicom-node explain {accession()} --config restored.yaml", node)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_document_leads_somewhere(name: str) -> None:
    for target in LINK.findall(text_of(name)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{name} links to {target}"


def anchors(document: Path) -> set[str]:
    """Headings as code hosts make anchors of them: lower case, hyphens for spaces, the rest left out."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_a_document_holds_no_unfinished_word_and_no_path_of_a_machine(name: str) -> None:
    assert not FORBIDDEN.search(text_of(name))


def test_pictures_load_nothing_and_are_pictures() -> None:
    svg = (ROOT / "docs" / "explain.svg").read_text()
    assert svg.startswith("<svg")
    assert not re.search(r"url\(\s*['\"]?http|<script|<image", svg)
    for path in ROOT.glob("docs/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_architecture_is_one_page_and_names_only_what_exists() -> None:
    text = text_of("ARCHITECTURE.md")
    assert len(text.splitlines()) <= ONE_PAGE_LINES
    named = {name for name in re.findall(r"`([a-z_/.]+)`", text) if "/" in name or name.endswith(".py")}
    assert len(named) > 10
    for name in named:
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "dicom_node")), name


def sources(suffix: str) -> str:
    folders = [ROOT / name for name in ("dicom_node", "inference", "storage")]
    return "\n".join(path.read_text() for folder in folders for path in sorted(folder.rglob(f"*.{suffix}")))


def private_codes_in_source() -> set[tuple[str, str]]:
    in_python = re.findall(r'Code\(\s*"([^"]+)",\s*"99DICOMNODE",\s*"([^"]+)"', sources("py"))
    in_yaml = re.findall(r"\{value: (\S+), scheme: 99DICOMNODE, meaning: ([^}]+)\}", sources("yaml"))
    mentions = sum(sources(suffix).count("99DICOMNODE") for suffix in ("py", "yaml"))
    assert len(in_python) + len(in_yaml) == mentions, "a private code is written in a way that this test does not read"
    return {*in_python, *in_yaml}


def test_every_private_code_is_documented_and_every_documented_one_used() -> None:
    section = text_of("docs/codes.md").partition("## The private scheme")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \| [^|]+ \|$", section, re.MULTILINE))
    assert documented == private_codes_in_source()


def test_every_kind_of_event_is_explained_to_operators() -> None:
    kinds = set(re.findall(r'(?:[Ee]vent|_about)\(\s*(?:[\w.]+,\s*)?"([a-z_]+)"', sources("py")))
    assert len(kinds) > 15
    section = text_of("docs/operations.md").partition("## Warnings and alarms")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+_[a-z_]+|delivered)`", section))
    explained = {name for name in named if not name.endswith("_s")}  # those are keys of config.yaml
    assert kinds <= explained
    assert explained - kinds <= {"job_done"}  # beside job_failed, chosen at run time


def test_the_service_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    (unit,) = blocks("docs/operations.md", "ini")
    assert unit.count("/opt/dicom-node/venv/bin/dicom-node") == 1
    path = tmp_path / "dicom-node.service"
    path.write_text(unit.replace("/opt/dicom-node/venv/bin/dicom-node", str(BIN / "dicom-node")))
    done = subprocess.run([tool, "verify", "--man=no", path], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert not complaints
