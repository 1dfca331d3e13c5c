"""What the command line says where no node runs: help, and errors as sentences without a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node import cli
from dicom_node.acceptors import acceptor_names
from dicom_node.config_file import load_config
from tests.acceptance.node import configuration, dicom_node
from tests.ports import free_port

COMMANDS = ["serve", "demo", "check", "status", "explain", "replay", "send", "requeue"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, configuration())


def write(folder: Path, tree: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_help_names_every_command_and_each_command_explains_itself() -> None:
    told = dicom_node("--help")
    assert told.returncode == 0
    for command in COMMANDS:
        assert command in told.stdout
        own = dicom_node(command, "--help")
        assert (own.returncode, own.stderr) == (0, "")
        assert "Usage:" in own.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["explain", "A-1"], 3, "no study has that Accession Number, Study Instance UID or Patient ID"),
        (["explain", "A-1", "--json"], 3, "no study has that Accession Number, Study Instance UID or Patient ID"),
        (["requeue", "A-1"], 3, "no study has that Accession Number, Study Instance UID or Patient ID"),
        (["requeue", "A-1", "--deliveries"], 3, "no study has that Accession Number, Study Instance UID or Patient ID"),
        (
            ["requeue", "A-1", "--deliveries", "--destination", "nowhere"],
            1,
            "--destination nowhere: no destination has that name; known: results",
        ),
        (["requeue", "A-1", "--deliveries", "--stat"], 1, "--stat is of analyses, and --deliveries sends what was"),
        (["send", ".", "--to", "nowhere"], 1, "no DICOM destination has that name; known: none; or write AE@host:port"),
        (["send", ".", "--to", "PACS@nowhere"], 1, "expected AE@host:port, as in PACS@10.0.0.5:104"),
        (["send", "no-such-folder", "--to", "PACS@127.0.0.1:104"], 2, "does not exist"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(
    config: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    told = dicom_node(*arguments, "--config", str(config), folder=tmp_path)
    assert told.returncode == code, told
    assert sentence in " ".join(told.stderr.split()), told
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("command", [["serve"], ["status"], ["explain", "A-1"], ["send", ".", "--to", "x"], ["check"]])
def test_a_configuration_that_is_wrong_or_missing_is_told_by_every_command(tmp_path: Path, command: list[str]) -> None:
    missing = dicom_node(*command, "--config", str(tmp_path / "none.yaml"), folder=tmp_path)
    assert missing.returncode == 1
    assert "none.yaml" in missing.stdout + missing.stderr
    wrong = write(tmp_path, configuration(node={"prot": 11112}))
    told = dicom_node(*command, "--config", str(wrong), folder=tmp_path)
    assert told.returncode == 1
    assert "did you mean port?" in told.stdout + told.stderr
    for one in (missing, told):
        assert "Traceback" not in one.stdout + one.stderr


def test_what_peers_wrote_is_printed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (cli.out, cli.err):
        console.print("[/A] of P[/]X :bug: [bold]")
    said = capsys.readouterr()
    assert said.out == said.err == "[/A] of P[/]X :bug: [bold]\n"


def test_status_of_a_node_that_does_not_run_says_so_and_fails(config: Path) -> None:
    told = dicom_node("status", "--config", str(config))
    assert (told.returncode, told.stderr) == (1, "")
    names = ["dispatcher", *acceptor_names(load_config(config).node)]
    assert told.stdout.count("not running") == len(names)
    assert all(name in told.stdout for name in names)


def test_check_passes_a_good_configuration_and_connect_fails_where_a_destination_does_not_answer(
    tmp_path: Path, config: Path
) -> None:
    assert dicom_node("check", "--config", str(config)).returncode == 0
    port = free_port()
    pacs = {"name": "results", "type": "dicom", "ae_title": "PACS1", "address": "127.0.0.1", "port": port}
    down = write(tmp_path, configuration(destinations=[pacs]))
    assert dicom_node("check", "--config", str(down)).returncode == 0
    told = dicom_node("check", "--connect", "--config", str(down))
    assert told.returncode == 1
    assert "results" in told.stdout
    assert "refused" in told.stdout
    assert "Traceback" not in told.stdout + told.stderr


def test_the_demo_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    told = dicom_node("demo", "--output", "mine", folder=tmp_path)
    assert told.returncode == 1
    assert "is not empty and no demo made it" in " ".join(told.stderr.split())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_the_demo_refuses_a_study_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for study, words in (("empty", "holds no DICOM instance"), ("absent", "must be a folder with DICOM files")):
        told = dicom_node("demo", "--study", study, "--output", "out", folder=tmp_path)
        assert told.returncode == 1
        assert words in " ".join(told.stderr.split())
        assert "Traceback" not in told.stderr
