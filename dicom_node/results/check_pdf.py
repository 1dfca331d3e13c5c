"""Is the written document one page that opens, and does it say what no page may lack? Asked of the bytes."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread

from dicom_node.results.check_sc import dangling
from dicom_node.results.lettering import can_show
from dicom_node.results.scene import Scene
from dicom_node.results.summary import summary_of
from dicom_node.results.writing import Written


def check_pdf(scene: Scene, pdf: Written) -> list[str]:
    """What is wrong with it, in words. The page is read by another library than the one that wrote it."""
    # Only here: with what it loads for encrypted documents it takes 16 MB, which few workers need.
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    stored = dcmread(BytesIO(pdf.payload))
    document = (stored.EncapsulatedDocument or b"")[: int(stored.EncapsulatedDocumentLength)]
    faults = dangling(scene, stored, "SourceInstanceSequence")
    try:
        pages = [page.extract_text() for page in PdfReader(BytesIO(document), strict=True).pages]
    except (PyPdfError, ValueError, KeyError) as error:
        return [*faults, f"the document does not open: {error}"]
    if len(pages) != 1:
        return [*faults, f"the document has {len(pages)} pages, not one"]
    said = _letters(pages[0])
    if _letters(summary_of(scene).disclaimer) not in said:
        faults.append("the page lacks the words at its foot: that it is the result of an algorithm")
    number = str(scene.report.first_source.get("PatientID") or "")
    if scene.report.words.pdf_names_patient and can_show(number) and _letters(number) not in said:
        faults.append("the page does not say whose it is")
    return faults


def _letters(text: str) -> str:
    """Without the spaces, which lie elsewhere on a page than in a sentence."""
    return "".join(text.split())
