"""Regular expressions that a person may write in config.yaml: which are too slow to be allowed?

Python's `re` backtracks, so a short pattern can take years on a short text. Two bounds keep a match fast: the
text is cut at `MAX_TEXT_CHARACTERS` (LO holds 64 at most, PS3.5 table 6.2-1), and a pattern is refused when the
number of ways in which it could try that text passes `MAX_WAYS`. The estimate is an upper bound that knows no
context, so it refuses some harmless patterns and passes none that is harmful.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PATTERN_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 128
MAX_WAYS = 3 * MAX_TEXT_CHARACTERS**4
_ITEM = re.compile(
    r"""\\(?P<escaped>.)
    | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
    | (?P<open>\((?:\?:)?)
    | (?P<close>\))
    | (?P<either>\|)
    | (?P<repeat>(?:[*+?]|\{(?P<least>\d*)(?:,(?P<most>\d*))?\})[?+]?)
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass
class _Group:
    ways: int = 1
    branches: int = 1


def compile_pattern(text: str) -> re.Pattern[str]:
    """`/pattern/` or `/pattern/i` as a compiled expression; ValueError says what is not allowed."""
    match = re.fullmatch(r"/(?P<body>.+)/(?P<flags>i?)", text, re.DOTALL)
    if match is None:
        raise ValueError("a regular expression is written /pattern/ or /pattern/i")
    body = match["body"]
    if len(body) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a regular expression may have at most {MAX_PATTERN_CHARACTERS} characters")
    try:
        pattern = re.compile(body, re.IGNORECASE if match["flags"] else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if ways_to_match(body) > MAX_WAYS:
        raise ValueError("this regular expression could take too long: use fewer repetitions and alternatives")
    return pattern


def ways_to_match(body: str) -> int:
    """Upper bound on the ways to try a text of `MAX_TEXT_CHARACTERS`; ValueError where not supported."""
    stack = [_Group()]
    last = 1  # the ways of the item that a repetition would apply to
    for item in _ITEM.finditer(body):
        group = stack[-1]
        if item["escaped"] is not None and item["escaped"].isdigit():
            raise ValueError("references to earlier groups (\\1) are not supported")
        if item["open"] is not None:
            if body[item.end() :].startswith("?"):
                raise ValueError("of the groups that begin with (? only (?:...) is supported")
            stack.append(_Group())
            last = 1
        elif item["close"] is not None:
            inner = stack.pop()
            last = inner.ways * inner.branches
            stack[-1].ways *= last
        elif item["either"] is not None:
            group.branches += 1
        elif item["repeat"] is not None:
            if last > 1 and item["repeat"] != "?":
                raise ValueError("a repeated group may hold no repetition and no alternative of its own")
            group.ways *= _choices(item)
        else:
            last = 1
    whole = stack[0]
    return whole.ways * whole.branches * MAX_TEXT_CHARACTERS


def _choices(item: re.Match[str]) -> int:
    if item["repeat"][0] == "?":
        return 2
    if item["most"] is None and item["least"]:
        return 1
    least = int(item["least"] or 0)
    most = int(item["most"]) if item["most"] else MAX_TEXT_CHARACTERS
    return max(1, min(most, MAX_TEXT_CHARACTERS) - least + 1)
