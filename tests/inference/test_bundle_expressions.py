"""Of a bundle's expressions those that say a plain value are read; nothing of any is run."""

from __future__ import annotations

from typing import Any

import pytest

from inference.bundle_expressions import LONGEST, NotPlainError, value_of

CONFIG: dict[str, Any] = {
    "highres": True,
    "settings#overlap": 0.25,
    "settings::names": ["a", "b"],
    "root": ".",
    "labels": {"background": 0, "liver": 1},
    "code": "$open('x')",
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[1.5, 1.5, 1.5] if @highres else [3.0, 3.0, 3.0]", [1.5, 1.5, 1.5]),
        ("1 if not @highres else 2", 2),
        ("@root + '/models/' + 'model.pt'", "./models/model.pt"),
        ("len(@labels) + 1", 3),
        ("len(@settings::names)", 2),
        ("@settings#overlap", 0.25),
        ("-1", -1),
        ("(1, [2, None], True)", [1, [2, None], True]),
        ("@settings::names + ['c']", ["a", "b", "c"]),
        ("not @highres", False),
    ],
)
def test_a_plain_value_is_read(expression: str, value: object) -> None:
    assert value_of(expression, CONFIG.__getitem__) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "@root.upper()",
        "open('x')",
        "len(open('x'))",
        "(lambda: 1)()",
        "[x for x in @settings::names]",
        "@labels['liver']",
        "9 ** 9 ** 9",
        "'a' * 10**9",
        "_reference_0",
        "_reference_7 + @root",
        "f'{1}'",
        "b'x'",
        "@code",
        "len(3)",
        "1 + True",
        "import os",
        "",
        "((((",
        "(" * 300 + ")" * 300,
        "1+" * LONGEST + "1",
        "\0",
    ],
)
def test_what_is_more_is_not_read(expression: str) -> None:
    with pytest.raises(NotPlainError):
        value_of(expression, CONFIG.__getitem__)
