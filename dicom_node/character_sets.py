"""Text of a header as str, by its Specific Character Set (PS3.5 6.1, PS3.3 C.12.1.1.2). Never an exception."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydicom.charset import decode_bytes, python_encoding

# Only these VRs are subject to Specific Character Set (PS3.5 6.1.2.2); every other text is ASCII.
_BY_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
# After these an ISO 2022 text returns to its first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {ord("\r"), ord("\n"), ord("\t"), ord("\f")}
_NAME_DELIMITERS = {ord("^"), ord("=")} | _DELIMITERS
_ESCAPE = b"\x1b"
_DEFAULT = "latin_1"  # of which ASCII is a part; bytes beyond it were written by somebody who meant something


class Decoder:
    def __init__(self, terms: Sequence[str], note: Callable[[str], None]) -> None:
        """terms: the values of Specific Character Set. note: is told of what is not as the standard says."""
        known = [python_encoding[term] for term in terms if term in python_encoding]
        if len(known) < len(terms):
            note("SpecificCharacterSet has a term that is not known: such text was read as ISO_IR 100")
        self._encodings = known or [_DEFAULT]
        self._note = note

    def text(self, raw: bytes, vr: str) -> str:
        """One value, or several with the backslashes between them."""
        padded = raw.rstrip(b"\x00 ")
        if vr not in _BY_CHARACTER_SET:
            return padded.decode("ascii", "replace")
        if _ESCAPE not in padded:
            return padded.decode(self._encodings[0], "replace")
        try:
            return str(decode_bytes(padded, self._encodings, _NAME_DELIMITERS if vr == "PN" else _DELIMITERS))
        except (LookupError, ValueError, Warning):
            self._note("a text has an escape sequence that Specific Character Set does not announce")
            return padded.decode(self._encodings[0], "replace")
