"""Letters of pictures and pages: one face for all machines, and an honest word where it has no letter.

The face is DejaVu Sans Condensed (`fonts/LICENSE.txt`): Latin, Greek, Cyrillic, Armenian and Georgian letters, mathematical
signs and units. Scripts that run from right to left, or whose letters join, would come out wrong, so they count as absent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from inference.findings import Code

FONTS = Path(__file__).parent / "fonts"
REGULAR, BOLD = FONTS / "DejaVuSansCondensed.ttf", FONTS / "DejaVuSansCondensed-Bold.ttf"

Length = Callable[[str], float]
"""How long a text is on one line."""

ABSENT = "[…]"
"""Stands for words that the face has no letters for."""

ABSENT_EXPLAINED = f"{ABSENT} stands for words in letters that cannot be drawn here."

_NOT_A_CHARACTER = "\U0010ffff"
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_MARKS = ("Mn", "Mc", "Me")


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The face at a height in pixels. Letters are set one after another, so a picture is the same on every machine."""
    return ImageFont.truetype(BOLD if bold else REGULAR, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def has_letter(character: str) -> bool:
    """Whether the face has it, and it can stand as it is."""
    if character == " ":
        return True
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT or unicodedata.category(character) in _MARKS:
        return False
    return character.isprintable() and _drawn(character) != _drawn(_NOT_A_CHARACTER)


def _drawn(character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(20).getmask(character)
    return mask.size, bytes(mask)


def can_show(text: str) -> bool:
    return all(has_letter(character) for character in _composed(text))


def spelled(text: str) -> str:
    """The text on one line, `ABSENT` in the place of each word that cannot be drawn."""
    words = [word if can_show(word) else ABSENT for word in _composed(text).split()]
    kept = [word for before, word in zip(["", *words], words, strict=False) if (before, word) != (ABSENT, ABSENT)]
    return " ".join(kept)


def named(label: str, code: Code) -> str:
    """A finding's label, else the meaning of its code, else the code: something that a reader can look up."""
    for text in (label, code.meaning):
        if can_show(text):
            return spelled(text)
    return spelled(f"{code.value} ({code.scheme})")


def fit(text: str, width: float, size: int, *, bold: bool = False) -> str:
    """The text, shortened with dots where it is wider than width pixels."""
    return shortened(text, width, font(size, bold=bold).getlength)


@lru_cache(maxsize=512)  # a card is laid out several times before it fits
def wrap(text: str, width: float, size: int) -> Sequence[str]:
    """Lines of at most width pixels."""
    return broken(text, width, font(size).getlength)


def shortened(text: str, width: float, length: Length) -> str:
    """The text, with dots for its end where it is wider than width, in the unit of length."""
    if length(text) <= width:
        return text
    while len(text) > 1 and length(f"{text}…") > width:
        text = text[:-1].rstrip()
    return f"{text}…"


def broken(text: str, width: float, length: Length) -> list[str]:
    """Lines of at most width, in the unit of length, broken between words; a word that is wider is broken within."""
    lines: list[str] = []
    for word in (part for whole in text.split() for part in _parts(whole, width, length)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and length(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _parts(word: str, width: float, length: Length) -> list[str]:
    parts = [""]
    for character in word:
        if parts[-1] and length(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
