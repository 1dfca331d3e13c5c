"""What DCMTK, Orthanc and pynetdicom send comes out as it went over the line, in every transfer syntax and SOP class."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import build_context

from dicom_node.network.file_meta import FileMeta, read_file_meta
from dicom_node.network.transfer_syntaxes import ALL
from dicom_node.part10 import file_meta
from tests.conformance.passing_proxy import PassingProxy, Sent, stored_data_sets
from tests.dicom_node.serving import Serving, serving
from tests.dicom_node.test_acceptor_real_data import STORESCU_FLAGS, UNPARSABLE, _real_files
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, ct_image
from tests.orthanc import Orthanc

Send = Callable[[Sequence[Path], int, Path, Callable[[str], str]], None]
_NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG))
_MOST_CONTEXTS = 128


def _meta(path: Path) -> FileMeta:
    return read_file_meta(path.read_bytes())


# The flag with which storescu proposes a transfer syntax; it knows no others.
_FLAGS = STORESCU_FLAGS | {
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.100": "-xm",
    "1.2.840.10008.1.2.4.101": "-xh",
    "1.2.840.10008.1.2.4.102": "-xn",
    "1.2.840.10008.1.2.4.103": "-xl",
    "1.2.840.10008.1.2.4.104": "-x2",
    "1.2.840.10008.1.2.4.105": "-x3",
    "1.2.840.10008.1.2.4.106": "-xo",
    "1.2.840.10008.1.2.4.107": "-x4",
    "1.2.840.10008.1.2.4.108": "-x5",
}


def _by_storescu(files: Sequence[Path], port: int, _folder: Path, peer: Callable[[str], str]) -> None:
    for syntax, flag in _FLAGS.items():
        some = [str(path) for path in files if _meta(path).transfer_syntax_uid == syntax]
        if some:
            _dcmtk([peer("storescu"), flag, "--required", "--no-halt", "-aec", "DICOM-NODE"], port, some)


def _by_dcmsend(files: Sequence[Path], port: int, _folder: Path, peer: Callable[[str], str]) -> None:
    options = ["--no-halt", "--no-uid-checks", "--decompress-never", "-aec", "DICOM-NODE"]
    for path in files:  # one by one: it ends at a file that it cannot read
        _dcmtk([peer("dcmsend"), *options], port, [str(path)])


def _dcmtk(command: Sequence[str], port: int, files: Sequence[str]) -> None:
    subprocess.run(
        [*command, "127.0.0.1", str(port), *files],
        check=False,  # of some real files no sender makes anything
        capture_output=True,
        env=os.environ | {"TCP_NODELAY": "1"},
        timeout=200,
    )


def _by_pynetdicom(files: Sequence[Path], port: int, _folder: Path, _peer: Callable[[str], str]) -> None:
    for some in _contexts_at_once(files):
        wanted = [build_context(UID(abstract), [UID(syntax)]) for abstract, syntax in some]
        waiting = [path for paths in some.values() for path in paths]
        while waiting:  # the library gives the association up where it fails at a file
            association = AE("PYNETDICOM").associate("127.0.0.1", port, contexts=wanted, ae_title="DICOM-NODE")
            assert association.is_established
            while waiting and association.is_established:
                _store(association, waiting.pop())
            association.release()


def _contexts_at_once(files: Sequence[Path]) -> Iterator[dict[tuple[str, str], list[Path]]]:
    """Files by SOP class and transfer syntax, so many of these as fit in one association."""
    by_context: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        meta = _meta(path)
        by_context.setdefault((meta.sop_class_uid, meta.transfer_syntax_uid), []).append(path)
    contexts = list(by_context.items())
    for first in range(0, len(contexts), _MOST_CONTEXTS):
        yield dict(contexts[first : first + _MOST_CONTEXTS])


def _store(association: Any, path: Path) -> None:
    with warnings.catch_warnings(), suppress(ValueError, AttributeError, RuntimeError, NotImplementedError):
        warnings.simplefilter("ignore")  # the library's, of what some files hold and it cannot read
        association.send_c_store(path)


def _by_orthanc(files: Sequence[Path], port: int, folder: Path, peer: Callable[[str], str]) -> None:
    """It holds one instance of a SOP Instance UID, whatever the syntax, so it is filled, sends and is emptied in turns."""
    orthanc = Orthanc(peer("Orthanc"), folder)
    with orthanc.running():
        node = {"AET": "DICOM-NODE", "Host": "127.0.0.1", "Port": port}
        _rest(orthanc, "PUT", "/modalities/node", json.dumps(node).encode())
        waiting = list(files)
        while waiting:
            held, later = [], []
            for path in waiting:
                answer = json.loads(_rest(orthanc, "POST", "/instances", path.read_bytes()))
                if answer["Status"] == "Success":
                    held.append(answer["ID"])
                else:
                    later.append(path)
            job = {"Resources": held, "Synchronous": True, "Permissive": True}
            _rest(orthanc, "POST", "/modalities/node/store", json.dumps(job).encode())
            for one in held:
                _rest(orthanc, "DELETE", f"/instances/{one}", None)
            assert held, later
            waiting = later


def _rest(orthanc: Orthanc, method: str, path: str, body: bytes | None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{orthanc.http_port}{path}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=200) as answer:
        content: bytes = answer.read()
    return content


SENDERS: Mapping[str, Send] = {
    "storescu": _by_storescu,
    "dcmsend": _by_dcmsend,
    "pynetdicom": _by_pynetdicom,
    "Orthanc": _by_orthanc,
}


_JPEG_RETIRED = {f"1.2.840.10008.1.2.4.{number}" for number in (*range(52, 57), *range(58, 67))}
# Newer than the DCMTK that is in Debian, and in its Orthanc.
_TOO_NEW = {"1.2.840.10008.1.2.1.98", *(f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107))} | {
    f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203)
}
_CONVERTED = _NATIVE - {EXPLICIT_LITTLE}
# Transfer syntaxes that a sender cannot propose.
NEVER_SENT: Mapping[str, set[str]] = {
    "storescu": _TOO_NEW | _JPEG_RETIRED | {f"1.2.840.10008.1.2.4.{number}" for number in (57, 92, 93)},
    "dcmsend": _TOO_NEW | _CONVERTED,  # it sends all that is not compressed in the syntax that it likes best
    "pynetdicom": set(),
    "Orthanc": _TOO_NEW,
}
# All VRs of these real files are UN, and DCMTK takes the wrong SOP Class UID from that.
_UNKNOWN_VRS = {
    ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.81"),
    ("1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.1.2.5"),
}
_LABEL_MAP_SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.7", EXPLICIT_LITTLE)
NEVER_SENT_REAL: Mapping[str, set[tuple[str, str]]] = {
    "storescu": _UNKNOWN_VRS | {_LABEL_MAP_SEGMENTATION},
    "dcmsend": _UNKNOWN_VRS,
    "pynetdicom": set(),
    "Orthanc": _UNKNOWN_VRS,
}


def _sent_to(
    served: Serving, files: Sequence[Path], sender: str, folder: Path, peer: Callable[[str], str]
) -> list[Sent]:
    """What went over the line; of it, what was answered with success is stored, and nothing else."""
    with PassingProxy(served.port).running() as proxy:
        SENDERS[sender](files, proxy.port, folder / "sender", peer)
        sent = proxy.sent()
    stored = stored_data_sets(served.objects)
    expected: dict[tuple[str, str], set[bytes]] = {}
    for one in sent:
        if one.status == 0x0000:
            expected.setdefault((one.sop_instance_uid, one.transfer_syntax_uid), set()).add(one.data_set)
    assert stored.keys() == expected.keys()
    assert [key for key, data_sets in stored.items() if data_sets != expected[key]] == []
    # None: the sender gave up in the middle of a file that it could not read to its end.
    assert {one.status for one in sent} <= {0x0000, 0xA900, 0xC000, None}
    return sent


def _contexts(sent: Iterable[Sent]) -> set[tuple[str, str]]:
    return {(one.sop_class_uid, one.transfer_syntax_uid) for one in sent if one.status == 0x0000}


def _made(folder: Path) -> list[Path]:
    """A CT image in each transfer syntax that the acceptor takes; of compressed ones the fragments are no images."""
    folder.mkdir()
    paths = []
    for number, syntax in enumerate(ALL):
        uid = f"1.2.3.4.{number + 1}"
        pixels = bytes(range(48)) if syntax in _NATIVE else None
        data_set = ct_image(uid, syntax, InstanceNumber=number + 1, PixelData=pixels)
        if pixels is None:
            data_set += Encoding(syntax).encapsulated([bytes(range(64))])
        meta = file_meta(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=uid, transfer_syntax_uid=syntax)
        path = folder / f"{number}.dcm"
        path.write_bytes(meta + data_set)
        paths.append(path)
    return paths


@pytest.mark.parametrize("sender", SENDERS)
def test_every_syntax_that_is_offered_comes_out_as_it_was_sent(
    tmp_path: Path, peer: Callable[[str], str], sender: str
) -> None:
    with serving(tmp_path / "node") as served:
        sent = _sent_to(served, _made(tmp_path / "made"), sender, tmp_path, peer)
    assert {*ALL} - {syntax for _, syntax in _contexts(sent)} <= NEVER_SENT[sender]


def _real(folder: Path, each: int) -> dict[tuple[str, str], list[Path]]:
    """So many files of each SOP class and transfer syntax, of those that say who they are and can be read."""
    found: dict[tuple[str, str], list[Path]] = {}
    for file in _real_files(folder):
        if file.is_identified and file.path.name not in UNPARSABLE and file.transfer_syntax_uid in ALL:
            found.setdefault(file.context, []).append(file.path)
    return {context: paths[:each] for context, paths in found.items()}


def _send_real(
    folder: Path, files: Mapping[tuple[str, str], list[Path]], sender: str, peer: Callable[[str], str]
) -> None:
    with serving(folder / "node") as served:
        sent = _sent_to(served, [path for paths in files.values() for path in paths], sender, folder, peer)
    assert len(files) > 40
    missing = {context for context in files.keys() - _contexts(sent) if context[1] not in NEVER_SENT[sender]}
    assert missing <= NEVER_SENT_REAL[sender]


@pytest.mark.parametrize("sender", SENDERS)
def test_every_real_sop_class_and_syntax_comes_out_as_it_was_sent(
    tmp_path: Path, shared_data: Path, peer: Callable[[str], str], sender: str
) -> None:
    _send_real(tmp_path, _real(shared_data, each=2), sender, peer)


@pytest.mark.long
@pytest.mark.parametrize("sender", SENDERS)
def test_every_real_object_comes_out_as_it_was_sent(
    tmp_path: Path, shared_data: Path, peer: Callable[[str], str], sender: str
) -> None:
    _send_real(tmp_path, _real(shared_data, each=1000), sender, peer)
