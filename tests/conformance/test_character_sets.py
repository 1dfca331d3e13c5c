"""Patients are called in every object what the source calls them, in every script, whatever our own text needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.results.encode import TYPES, encode
from dicom_node.results.ko import encode_rejection
from dicom_node.results.report import EncodedResult
from dicom_node.results.writing import part10
from tests.conformance.named import AS_DEFINED, FAULTY, Named, of_file
from tests.conformance.reports import CREATED, MODEL, not_analysed, report_on
from tests.conformance.test_revisions import as_result
from tests.conformance.validators import dciodvfy_errors
from tests.dicom_node.test_facts import NAMES
from tests.waiting import LIMIT_S

Peer = Callable[[str], str]

pytestmark = pytest.mark.filterwarnings(  # the library's own, of sources that are faulty on purpose
    "ignore:.*(Specific Character Set|encoding|encodings|escape sequence).*"
)

MULTILINE_KOREAN = "위 판독은 참고용입니다.\n의사의 확인이 필요합니다."


FEW = ("sr", "seg")
"""All objects get their patient in one place, and are written in two: these stand for all where it must be quick."""


def results_of(named: Named, title: str = "Shape finder", kinds: Collection[str] = FEW) -> dict[str, EncodedResult]:
    """Objects of a report on a patient of that name."""
    report = replace(report_on(*named.volume(), kinds=tuple(kinds)), model=replace(MODEL, title=title))
    return {result.kind: result for result in encode(report)}


def read(result: EncodedResult) -> Dataset:
    return dcmread(BytesIO(result.payload))


def by_dcmtk(program: str, path: Path, *options: str) -> dict[str, str] | None:
    """What DCMTK's dcmdump prints of patient and study; None where its build cannot convert the character set."""
    keywords = ("PatientName", "PatientID", "StudyDescription")
    command = [program, "+L", *options, *(word for keyword in keywords for word in ("+P", keyword)), str(path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S)
    if done.returncode:
        assert b"character encoding" in done.stderr, done.stderr
        return None
    lines = done.stdout.decode("utf_8" if options else "latin_1").splitlines()
    matches = (re.match(r"\(\w+,\w+\) \w+ \[(.*)\] *# +\d+, \d+ (\w+)", line) for line in lines)
    return {match[2]: match[1].rstrip("= ") for match in matches if match}


def check_that_every_object_echoes(named: Named, peer: Peer, folder: Path, kinds: Collection[str] = FEW) -> str:
    """The character set of the objects, for all are in one."""
    datasets, _ = named.volume()
    datasets[0].save_as(folder / "source.dcm")
    theirs = by_dcmtk(peer("dcmdump"), folder / "source.dcm", "+U8")
    results = results_of(named, kinds=kinds)
    for kind, result in results.items():
        dataset = read(result)
        for keyword, meant in named.meant.items():
            assert str(dataset[keyword].value).rstrip("=") == meant.rstrip("="), (kind, keyword)
        path = folder / f"{kind}.dcm"
        path.write_bytes(result.payload)
        if theirs is None:  # it knows no Japanese: then the bytes must be those of the source
            assert by_dcmtk(peer("dcmdump"), path) == by_dcmtk(peer("dcmdump"), folder / "source.dcm"), kind
        else:
            assert by_dcmtk(peer("dcmdump"), path, "+U8") == theirs, kind
        assert foreign_errors(named, peer("dciodvfy"), path) == [], kind
    (stated,) = {stated_in(read(result)) for result in results.values()}
    return stated


def stated_in(dataset: Dataset) -> str:
    stated = dataset.get("SpecificCharacterSet") or ""
    return stated if isinstance(stated, str) else "\\".join(stated)


def foreign_errors(named: Named, dciodvfy: str, path: Path) -> list[str]:
    """It knows neither of these character sets, and finds each character beyond ASCII wrong."""
    errors = dciodvfy_errors(dciodvfy, path)
    if named.terms in {"ISO_IR 13", "GBK"}:
        return [line for line in errors if "Character invalid for character repertoire" not in line]
    return errors


@pytest.mark.parametrize("file", NAMES)
def test_names_of_real_files_are_echoed_and_dcmtk_reads_them_so_too(
    file: str, peer: Peer, tmp_path: Path, shared_data: Path
) -> None:
    named = of_file(shared_data / "pydicom_charset" / file, NAMES[file])
    assert check_that_every_object_echoes(named, peer, tmp_path) == named.terms


@pytest.mark.parametrize("name", AS_DEFINED)
def test_names_in_every_other_character_set_are_echoed(name: str, peer: Peer, tmp_path: Path) -> None:
    assert check_that_every_object_echoes(AS_DEFINED[name], peer, tmp_path) == AS_DEFINED[name].terms


@pytest.mark.long
@pytest.mark.parametrize("name", AS_DEFINED)
def test_names_in_every_character_set_are_echoed_by_every_object(name: str, peer: Peer, tmp_path: Path) -> None:
    check_that_every_object_echoes(AS_DEFINED[name], peer, tmp_path, tuple(TYPES))


@pytest.mark.parametrize("name", ["supplementary Japanese", "traditional Chinese, GB18030"])
def test_every_object_echoes_the_name(name: str, peer: Peer, tmp_path: Path) -> None:
    check_that_every_object_echoes(AS_DEFINED[name], peer, tmp_path, tuple(TYPES))


def test_the_report_that_nothing_was_analysed_echoes_the_name() -> None:
    for named in AS_DEFINED.values():
        results = encode(not_analysed(named.volume()[0]))
        assert [result.kind for result in results] == ["sr", "sc"]
        for result in results:
            assert str(read(result).PatientName).rstrip("=") == named.meant["PatientName"]


@pytest.mark.parametrize("name", FAULTY)
def test_what_devices_write_against_the_rules_loses_no_character_and_comes_out_by_the_rules(
    name: str, peer: Peer, tmp_path: Path
) -> None:
    named = FAULTY[name]
    for kind, result in results_of(named).items():
        dataset, path = read(result), tmp_path / f"{kind}.dcm"
        assert str(dataset.PatientName) == named.meant["PatientName"], kind
        path.write_bytes(result.payload)
        assert by_dcmtk(peer("dcmdump"), path, "+U8") == {"PatientID": "T-1"} | named.meant, kind
        assert dciodvfy_errors(peer("dciodvfy"), path) == []


@pytest.mark.parametrize("title", ["Lungendichte für Größe", "肺密度", "폐 밀도", "Плотность лёгких", "كثافة الرئة 🫁"])
@pytest.mark.parametrize("name", ["Thai", "half-width Japanese", "Greek and Cyrillic by code extension"])
def test_what_we_say_in_any_language_does_not_change_the_name(
    name: str, title: str, peer: Peer, tmp_path: Path
) -> None:
    for kind, result in results_of(AS_DEFINED[name], title).items():
        dataset, path = read(result), tmp_path / f"{kind}.dcm"
        assert str(dataset.PatientName).rstrip("=") == AS_DEFINED[name].meant["PatientName"]
        assert dataset.SeriesDescription == f"AI: {title} 2.1.0"
        assert stated_in(dataset) in {"ISO_IR 192", AS_DEFINED[name].terms}
        path.write_bytes(result.payload)
        assert by_dcmtk(peer("dcmdump"), path, "+U8")["PatientName"] == AS_DEFINED[name].meant["PatientName"]  # type: ignore[index]


def test_lines_that_an_escape_sequence_would_not_survive_are_written_in_unicode(shared_data: Path) -> None:
    datasets, volume = of_file(shared_data / "pydicom_charset" / "chrI2.dcm", "").volume()
    report = report_on(datasets, volume, kinds=("sr",))
    limited = replace(report, model=replace(MODEL, intended_use=MULTILINE_KOREAN))
    (result,) = encode(limited)
    dataset = read(result)
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert any(MULTILINE_KOREAN in text for text in texts(dataset))
    assert str(dataset.PatientName) == NAMES["chrI2.dcm"]


def texts(dataset: Dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.keyword == "TextValue"]


def test_sequences_of_the_patient_may_have_a_character_set_of_their_own(peer: Peer, tmp_path: Path) -> None:
    datasets, volume = AS_DEFINED["Thai"].volume()
    for dataset in datasets:
        other = Dataset()
        other.SpecificCharacterSet = "ISO_IR 144"
        other.PatientID, other.IssuerOfPatientID = "T-2", "Больница"
        other.TypeOfPatientID = "TEXT"
        dataset.OtherPatientIDsSequence = [other]
        dataset["OtherPatientIDsSequence"].is_undefined_length = True
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CT1", "99LOCAL", "ทรวงอก"
        dataset.ProcedureCodeSequence = Sequence([code])
    datasets = [dcmread(BytesIO(part10_of(dataset))) for dataset in datasets]
    (result,) = encode(report_on(datasets, volume, kinds=("sr",)))
    dataset = read(result)
    assert result.faults == ()
    assert not dataset["OtherPatientIDsSequence"].is_undefined_length
    (other,) = dataset.OtherPatientIDsSequence
    assert other.IssuerOfPatientID == "Больница"
    assert str(dataset.PatientName) == AS_DEFINED["Thai"].meant["PatientName"]
    assert "ทรวงอก" in {str(element.value) for element in dataset.iterall() if element.keyword == "CodeMeaning"}
    path = tmp_path / "sr.dcm"
    path.write_bytes(result.payload)
    assert dciodvfy_errors(peer("dciodvfy"), path) == []


def part10_of(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("title", ["肺" * 21, "🫁 " * 12, "é" * 32], ids=["Chinese", "pictures", "French"])
def test_what_is_long_in_unicode_is_too_long_for_nobody(title: str, peer: Peer, tmp_path: Path) -> None:
    for kind, result in results_of(AS_DEFINED["Devanagari, Unicode"], title).items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(result.payload)
        assert dciodvfy_errors(peer("dciodvfy"), path) == [], kind
        assert len(read(result).SeriesDescription) <= 64


@pytest.mark.parametrize("name", AS_DEFINED)
def test_the_rejection_of_results_echoes_the_name_too(name: str) -> None:
    results = results_of(AS_DEFINED[name], kinds=("sr",))
    rejected = [as_result(result) for result in results.values()]
    document = encode_rejection(rejected, read(results["sr"]), told="PACS1", at=CREATED)
    written = dcmread(BytesIO(part10(document)))
    assert str(written.PatientName).rstrip("=") == AS_DEFINED[name].meant["PatientName"]
    assert stated_in(written) == AS_DEFINED[name].terms
