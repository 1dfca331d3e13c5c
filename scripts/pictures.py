"""Makes the pictures of README.md anew, from a run of the demo: docs/demo.png and docs/explain.svg.

Run from the checkout: `.venv/bin/python scripts/pictures.py`. The images are the phantom's, so no patient is in them.
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

from PIL import Image
from pydicom import dcmread
from rich.console import Console

from dicom_node import account_looks as looks
from dicom_node import phantom
from dicom_node.demo import Folders, prepare, running_node, send, wait_for
from dicom_node.history import StudyAccount
from dicom_node.network.archive import Archive

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLUMNS = 80
CONFIG = """
node: {{ae_title: DICOM-NODE, port: 0}}
models:
  - name: ct_lung_density
routes:
  - name: thin-chest-ct
    when: {{Modality: CT, SliceThickness: "<= 3"}}
    models: [ct_lung_density]
    destinations: [pacs]
    priority: stat
  - name: ct-chest
    when: {{Modality: CT}}
    models: [ct_lung_density]
    destinations: [pacs]
destinations:
  - {{name: pacs, type: dicom, ae_title: PACS, address: 127.0.0.1, port: {port}}}
storage: {{min_free_bytes: 100 MB}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folders = prepare(Path(made) / "demo", None)
        account = analysed(folders)
        picture = next(dcmread(path) for path in folders.pacs.glob("*.dcm") if dcmread(path).Modality == "OT")
    Image.fromarray(picture.pixel_array).save(DOCS / "demo.png", optimize=True)
    (DOCS / "explain.svg").write_text(drawn(account))


def analysed(folders: Folders) -> StudyAccount:
    """The account of the phantom's study, once its results are at the PACS."""
    study = phantom.chest_ct(identity="README")
    study.write(folders.study)
    pacs = Archive("PACS", folders.pacs)
    folders.config.write_text(CONFIG.format(port=pacs.start()))
    out = Console(stderr=True)
    try:
        with running_node(out, folders) as (stores, port):
            send(out, folders.study, port)
            return wait_for(out, stores, str(study.datasets[0].StudyInstanceUID))
    finally:
        pacs.stop()


def drawn(account: StudyAccount) -> str:
    """What `dicom-node explain` prints, as SVG; with the reader's own monospaced font, so it loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(looks.account(account))
    svg = console.export_svg(title=f"dicom-node explain {account.study.accession_number}", unique_id="explain")
    return re.sub(r"@font-face\s*{[^}]*}\s*|<!--.*?-->\s*", "", svg)


if __name__ == "__main__":
    main()
