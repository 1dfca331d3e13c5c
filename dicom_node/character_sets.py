"""Text of a header as str, by its Specific Character Set (PS3.5 6.1, PS3.3 C.12.1.1.2). Never an exception."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydicom.charset import decode_bytes, python_encoding

# Only these VRs are subject to Specific Character Set (PS3.5 6.1.2.2); every other text is ASCII.
BY_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
# After these an ISO 2022 text returns to its first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {ord("\r"), ord("\n"), ord("\t"), ord("\f")}
_NAME_DELIMITERS = {ord("^"), ord("=")} | _DELIMITERS
_ESCAPE = b"\x1b"
_GB_2312 = "\x1b$)A"  # that of ISO 2022 IR 58, which the library leaves in the text, and does not write
_FAR_BYTES = 256
_DEFAULT = "latin_1"  # of which ASCII is a part; bytes beyond it were written by somebody who meant something
# Defined since 2023, and not known to the library.
_LATIN_9 = {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
_MISSPELT = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?(?:IR[ _-]?)?(\d+)", re.IGNORECASE)

_SINGLE_BYTE = ("6", "13", "100", "101", "109", "110", "126", "127", "138", "144", "148", "166")
_FIRST = frozenset(("", *(f"ISO 2022 IR {number}" for number in _SINGLE_BYTE)))
_FURTHER = frozenset(f"ISO 2022 IR {number}" for number in (*_SINGLE_BYTE, "87", "149", "159"))
_ALONE = frozenset(("", *(f"ISO_IR {number}" for number in (*_SINGLE_BYTE, "192")), "GB18030", "GBK"))


class Decoder:
    def __init__(self, terms: Sequence[str], note: Callable[[str], None]) -> None:
        """terms: the values of Specific Character Set. note: is told of what is not as the standard says."""
        known = [encoding for term in terms if (encoding := _encoding(term))]
        if len(known) < len(terms):
            note("SpecificCharacterSet has a term that is not known: such text was read as ISO_IR 100")
        self._encodings = known or [_DEFAULT]
        self._note = note

    def text(self, raw: bytes, vr: str) -> str:
        """One value, or several with the backslashes between them."""
        padded = raw.rstrip(b"\x00 ")
        if vr not in BY_CHARACTER_SET:
            return padded.decode("ascii", "replace")
        if _ESCAPE not in padded:
            return self._plain(padded)
        try:
            text = decode_bytes(padded, self._encodings, _NAME_DELIMITERS if vr == "PN" else _DELIMITERS)
            return str(text).replace(_GB_2312, "")
        except (LookupError, ValueError, Warning):
            self._note("a text has an escape sequence that Specific Character Set does not announce")
            return padded.decode(self._encodings[0], "replace")

    def _plain(self, raw: bytes) -> str:
        try:
            return raw.decode(self._encodings[0])
        except UnicodeDecodeError as error:
            if error.start > _FAR_BYTES:  # what begins right is in this character set
                return raw.decode(self._encodings[0], "replace")
            self._note("a text is not in the Specific Character Set that is stated: it was read as ISO_IR 100")
            return raw.decode(_DEFAULT)  # which has a character for each byte, so nothing is lost


def are_as_defined(terms: Sequence[str]) -> bool:
    """True for terms that stand alone or together as PS3.3 C.12.1.1.2 says, and that the library can write."""
    if len(terms) <= 1:
        return all(term in _ALONE or (term in _FIRST and term) for term in terms)
    return terms[0] in _FIRST and all(term in _FURTHER for term in terms[1:])


def _encoding(term: str) -> str | None:
    """Python's name of it, that of what a misspelt term must mean included; None where it means nothing."""
    known = python_encoding | _LATIN_9
    if term in known:
        return known[term]
    if match := _MISSPELT.fullmatch(term):
        number = match[1]
        return known.get(f"ISO_IR {number}") or known.get(f"ISO 2022 IR {number}")
    return known.get({"UTF8": "ISO_IR 192", "UTF-8": "ISO_IR 192"}.get(term.upper(), term.upper()))
