"""Which of our objects OHIF shows, and which it does not: so that it is noticed when it learns to.

A row of UNSEEN is what OHIF 3.13.2 does with objects that every validator accepts. Where such a test passes, OHIF shows them:
take the row out, and make the table anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from playwright.sync_api import Error

from tests.conformance.objects import measured_in, segments_in
from tests.conformance.verdicts import JUDGES, says
from tests.viewer.every_object import Study, study_in_ohif
from tests.viewer.test_ohif import like
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

PATIENCE_MS = 40_000

UNSEEN: Mapping[str, str] = {
    "seg_fractional": "no: “not yet supported”",
    "gsps": "no",
    "key_images": "no",
    "parametric_map": "no",
}


class NotShownError(AssertionError):
    """OHIF does not show the object."""


@pytest.fixture(scope="module")
def study(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with study_in_ohif(peer, tmp_path_factory.mktemp("every-object")) as study:
        yield study


def masks(study: Study, row: str) -> bool:
    """Every segment is loaded, and the red one lies left of the blue one."""
    made = study.objects[row]
    labels = [segment.label for segment in segments_in(made).values()]
    script = (
        "(labels) => { const found = services.segmentationService.getSegmentations()"
        ".flatMap(s => Object.values(s.segments || {})).filter(Boolean).map(s => s.label);"
        " return labels.every(label => found.includes(label)) }"
    )
    study.viewer.page.wait_for_function(script, arg=labels, timeout=PATIENCE_MS)
    study.viewer.go_to_image(study.volume.voxels.shape[0] // 2)
    colours = [segment.color_rgb for segment in segments_in(made).values()][:2]

    def lie_side_by_side(pixels: object) -> bool:
        red, blue = (like(pixels, colour) for colour in colours)  # type: ignore[arg-type]
        return min(len(red), len(blue)) > 500 and bool(red.mean() < blue.mean())

    return study.viewer.comes_to_show(lie_side_by_side, limit_s=PATIENCE_MS / 1000)


def numbers(study: Study, row: str) -> bool:
    """The first measurement stands beside its outline, in two decimals."""
    first = measured_in(study.objects[row].report)[0]
    return words(study, f"{first.value:.2f} {first.unit}")


def words(study: Study, *expected: str) -> bool:
    """They are on the page, over the image or as text of its own."""
    script = (
        "(words) => { const text = document.body.innerText + ' ' +"
        " [...document.querySelectorAll('svg text, svg tspan')].map(e => e.textContent).join(' ');"
        " return words.every(word => text.includes(word)) }"
    )
    study.viewer.page.wait_for_function(script, arg=list(expected), timeout=PATIENCE_MS)
    return True


def picture(study: Study, row: str) -> bool:
    """The drawn segments are in it."""
    colours = [segment.color_rgb for segment in segments_in(study.objects[row]).values()][:2]
    return study.viewer.comes_to_show(
        lambda pixels: min(len(like(pixels, colour)) for colour in colours) > 100, limit_s=PATIENCE_MS / 1000
    )


def pages(study: Study, _row: str) -> bool:
    """The document stands in the viewport, as a PDF."""
    return study.viewer.wait_for_document().startswith(b"%PDF-")


def drawn(study: Study, _row: str) -> bool:
    """Something is drawn in colours over an image of grey values."""
    study.viewer.go_to_image(study.volume.voxels.shape[0] // 2)
    return study.viewer.comes_to_show(
        lambda pixels: int(((pixels.max(axis=2).astype(int) - pixels.min(axis=2)) > 60).sum()) > 1_000,
        limit_s=PATIENCE_MS / 1000,
    )


LOOKS: Mapping[str, Callable[[Study, str], bool]] = {
    "seg": masks,
    "seg_fractional": masks,
    "seg_labelmap": masks,
    "sr": numbers,
    "sr_comprehensive": numbers,
    "sr_text": lambda study, _: words(study, "One nodule, größer als 6 mm."),
    "sr, not analysed": lambda study, _: words(study, "Not analysed, because the images end above the diaphragm"),
    "sc": picture,
    "gsps": drawn,
    "key_images": drawn,
    "parametric_map": drawn,
    "pdf": pages,
}
"""What it means that OHIF shows an object."""


def unseen(row: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=NotShownError, reason=f"OHIF 3.13.2: {UNSEEN[row]}")


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=unseen(row)) if row in UNSEEN else row for row in JUDGES["OHIF"]]
)
def test_ohif_shows(row: str, study: Study) -> None:
    try:
        study.show(row)
        is_shown = LOOKS[row](study, row) and study.viewer.errors == []
    except Error:
        is_shown = False
    study.viewer.screenshot(study.folder / f"{row}.png")
    says("OHIF", row, "shown" if is_shown else UNSEEN.get(row, "not shown"))
    if not is_shown:
        raise NotShownError(f"OHIF shows nothing of {row}; it complains: {study.viewer.errors}")
