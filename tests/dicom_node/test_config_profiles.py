"""`destinations[].profile` and `profiles`: what config.yaml may say of what a destination can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.config import Config
from dicom_node.config_changes import changes
from dicom_node.config_file import load_config
from dicom_node.demands import demands_of
from dicom_node.errors import ConfigError
from dicom_node.profiles import NEXT_BEST, first_choice

PACS = {"name": "pacs", "type": "dicom", "ae_title": "PACS", "address": "10.0.0.1", "port": 104}
OWN = {"name": "own", "results": ["seg_labelmap", "sr"], "next_best": {"sr": ["pdf"], "seg_labelmap": []}}


def config(pacs: dict[str, Any] | None = None, **more: Any) -> Config:
    return Config.model_validate({"destinations": [PACS | (pacs or {})]} | more)


def problems(text: str, tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_a_destination_without_a_profile_gets_segmentation_report_and_picture() -> None:
    of = demands_of(config())["pacs"]
    assert (of.kinds, of.may_refuse) == (("seg", "sr", "sc"), True)


def test_results_stand_in_place_of_the_kinds_of_the_profile() -> None:
    of = demands_of(config({"profile": "ohif", "results": ["sr"]}))["pacs"]
    assert first_choice(of) == ("sr-alone",)


def test_a_folder_refuses_nothing() -> None:
    tree = {"destinations": [{"name": "out", "type": "folder", "path": "out", "profile": "weasis"}]}
    of = demands_of(Config.model_validate(tree))["out"]
    assert (of.may_refuse, of.kinds) == (False, ("seg", "sr", "gsps", "key_images"))


def test_an_own_profile_names_its_kinds_and_what_goes_instead_where_that_differs() -> None:
    of = demands_of(config({"profile": "own"}, profiles=[OWN]))["pacs"]
    assert first_choice(of) == ("seg_labelmap", "sr-seg_labelmap")
    assert (of.next_best["sr"], of.next_best["seg_labelmap"]) == (("pdf",), ())
    other = demands_of(config({"profile": "own"}, profiles=[OWN | {"next_best": {}}]))["pacs"]
    assert other.next_best["sr"] == NEXT_BEST["sr"]


def test_a_profile_that_changes_changes_what_its_destinations_take() -> None:
    before = config({"profile": "own"}, profiles=[OWN])
    after = config({"profile": "own"}, profiles=[OWN | {"results": ["sc"]}])
    assert [change.path for change in changes(before, after)] == ["profiles[0].results"]
    assert not any(change.at_start for change in changes(before, after))
    assert demands_of(before) != demands_of(after)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("destinations: [{name: p, type: folder, path: p, profile: ohiff}]", "did you mean ohif"),
        ("destinations: [{name: p, type: folder, path: p, results: [sr, sr]}]", "must name no kind twice"),
        ("destinations: [{name: p, type: folder, path: p, results: []}]", "must hold at least 1"),
        ("profiles: [{name: ohif, results: [sr]}]", "must not be the name of a built-in profile"),
        ("profiles: [{name: a, results: [sr]}, {name: a, results: [sc]}]", "must be unique among the profiles"),
        ("profiles: [{name: a, results: [video]}]", "profiles[0].results[0]"),
        ("profiles: [{name: a, results: [sr], next_best: {video: [sc]}}]", "must be a kind of result: seg, "),
        ("profiles: [{name: a, results: [sr], next_best: {sr: [sr]}}]", "must name other kinds"),
        ("profiles: [{name: a, results: [sr], next_best: {sr: [video]}}]", "profiles[0].next_best.sr[0]"),
        ("profiles: [{name: a, results: [sr], next_best: [sc]}]", "must map kinds of result to lists of kinds"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    assert words in problems(text, tmp_path)
