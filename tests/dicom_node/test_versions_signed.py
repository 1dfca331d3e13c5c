"""Where a signature is asked for, no version without it is taken up, activated, or goes on being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_signing import signing

from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.model_changes import Changes
from dicom_node.versions import Versions
from inference.errors import PackageError
from tests.inference.made_models import Above, torchscript, written
from tests.inference.test_signed import keys, sign
from tests.made_rows import open_house


def test_only_signed_versions_are_taken_up_activated_and_run(tmp_path: Path) -> None:
    private, public = keys(tmp_path, "trusted")
    first, second = (
        written(tmp_path / version, torchscript(Above(0.0)), version=version) for version in ("1.0.0", "1.1.0")
    )
    sign(signing.Config().use_elliptic_key_signer(private_key=private), first)
    entry = {"name": "demo_seg", "device": "cpu", "signature": {"public_key": str(public)}}
    house = open_house(tmp_path)
    asked, unasked = (
        Config.model_validate({"models": [entry | {"folder": str(folder)} | more]})
        for folder, more in ((first, {}), (second, {"signature": None}))
    )
    unsigned = Config.model_validate({"models": [entry | {"folder": str(second)}]})
    with pytest.raises(NodeError, match=r"holds no model\.sig"):
        Versions(house.models, tmp_path / "models").take_up(unsigned)
    versions = Versions(house.models, tmp_path / "models")
    assert versions.take_up(asked) == ()
    assert versions.routable(asked)["demo_seg"].package.key == "demo_seg@1.0.0"
    for what in (str(second), "demo_seg@1.1.0"):
        with pytest.raises((PackageError, NodeError), match=r"holds no model\.sig|must be NAME@VERSION"):
            Changes(asked, house.models, versions).activate(what, without_golden_cases=True)
    # It became active while nobody asked for a signature; from when somebody does it is not run.
    assert Changes(unasked, house.models, versions).activate(str(second), without_golden_cases=True)
    assert versions.routable(unasked)["demo_seg"].package.key == "demo_seg@1.1.0"
    with pytest.raises(PackageError, match=r"holds no model\.sig"):
        Versions(house.models, tmp_path / "models").routable(asked)
    house.database.close()
