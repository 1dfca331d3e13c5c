"""In which form does a result go to a destination that wants results compressed?"""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node import logs
from dicom_node.compression import Compressed, compressed
from dicom_node.destinations.protocol import Parcel
from dicom_node.lossless import Method, name_of
from dicom_node.result_kinds import MAP
from dicom_node.stored_file import whole

log = logs.get("delivery")


def form_for(parcel: Parcel, methods: Sequence[Method], destination: str) -> Compressed | None:
    """The result compressed; None where it goes as it is kept: nothing is asked for, or it has no pixels, or it cannot be."""
    # Frames of floats have no compressed form (PS3.5 A.4): none of them need be read to see that.
    if not methods or (parcel.result.kind == MAP and "deflated" not in methods):
        return None
    try:
        return compressed(whole(parcel.part10), methods)
    except Exception as error:  # noqa: BLE001 - a fault of a compressor must not hold up a result
        log.error("result could not be compressed", destination=destination, kind=parcel.result.kind, error=error)
        return None


def in_words(form: Compressed | None, transfer_syntax_uid: str, destination: str) -> str:
    """transfer_syntax_uid: in which it was sent."""
    if form is None or not transfer_syntax_uid:
        return ""
    name = name_of(form.transfer_syntax_uid)
    is_as_wanted = transfer_syntax_uid == form.transfer_syntax_uid
    return f"in {name}" if is_as_wanted else f"uncompressed, since {destination} does not take it in {name}"
