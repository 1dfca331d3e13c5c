"""Do the names in config.yaml fit together? Names are unique, each AE title is of one source, routes name only what is
configured, and certificates are named only where they are seen.

Works on plain mappings and lists that may be wrong in every other way, so that these problems are found in the
same pass as those of single keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dicom_node.profiles import DEFAULT_PROFILE, PROFILES

MAX_NAMES = 64  # in one list of a route; a bound, so that a hostile file costs little
PathKey = tuple[str | int, ...]


class ReferenceProblem(NamedTuple):
    key: PathKey
    rule: str
    nearest: str | None = None

    @property
    def path(self) -> str:
        return path_of(self.key)


def path_of(key: Iterable[str | int]) -> str:
    """("destinations", 0, "port") as "destinations[0].port"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def nearest_to(name: object, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, or None where nothing is near."""
    by_small = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(str(name).casefold(), by_small, n=1, cutoff=0.6)
    return by_small[near[0]] if near else None


def reference_problems(tree: object) -> list[ReferenceProblem]:
    """Names given twice and names that nothing bears, in the order of the file."""
    problems: list[ReferenceProblem] = []
    names: dict[str, list[str]] = {}
    for section in ("models", "routes", "destinations", "profiles"):
        names[section] = []
        for index, entry in _entries(tree, section):
            name = entry.get("name")
            if not isinstance(name, str):
                continue
            if name in names[section]:
                problems.append(ReferenceProblem((section, index, "name"), f"must be unique among the {section}"))
            names[section].append(name)
    for index, route in _entries(tree, "routes"):
        for section in ("models", "destinations"):
            problems += _unknown(("routes", index, section), route.get(section), names[section])
    problems += _profiles(tree, names["profiles"])
    return [*problems, *_shared_ae_titles(tree), *_unseen_certificates(tree)]


def _profiles(tree: object, own: Sequence[str]) -> Iterable[ReferenceProblem]:
    known = (*PROFILES, *own)
    for index, name in enumerate(own):
        if name in PROFILES:
            rule = "must not be the name of a built-in profile: give it another, or destinations what differs"
            yield ReferenceProblem(("profiles", index, "name"), rule)
    for index, destination in _entries(tree, "destinations"):
        wanted = destination.get("profile", DEFAULT_PROFILE)
        if isinstance(wanted, str) and wanted not in known:
            rule = f"must be one of {', '.join(known)}"
            yield ReferenceProblem(("destinations", index, "profile"), rule, nearest_to(wanted, known))


def _shared_ae_titles(tree: object) -> Iterable[ReferenceProblem]:
    known: set[str] = set()
    for index, source in _entries(tree, "sources"):
        titles = source.get("ae_titles")
        for position, title in enumerate(titles if isinstance(titles, list | tuple) else ()):
            if isinstance(title, str):
                if title.strip(" ") in known:
                    yield ReferenceProblem(("sources", index, "ae_titles", position), "must stand in one source, once")
                known.add(title.strip(" "))


def _unseen_certificates(tree: object) -> Iterable[ReferenceProblem]:
    if _part(_part(_part(tree, "node"), "tls"), "ca") is not None:
        return
    for index, requestor in _entries(_part(tree, "access"), "requestors"):
        for name in ("certificate_name", "certificate_sha256"):
            if requestor.get(name) is not None:
                rule = "must come with node.tls.ca, without which no certificate is seen: set that"
                yield ReferenceProblem(("access", "requestors", index, name), rule)


def _unknown(key: PathKey, wanted: object, known: Sequence[str]) -> Iterable[ReferenceProblem]:
    if not isinstance(wanted, list | tuple):
        return
    for position, name in enumerate(wanted[:MAX_NAMES]):
        if not isinstance(name, str):
            continue
        if name not in known:
            near = nearest_to(name, known) or next((one for one in known if one.startswith(f"{name}@")), None)
            yield ReferenceProblem((*key, position), f"must be the name of one of the {key[-1]}", near)
        elif name in wanted[:position]:
            yield ReferenceProblem((*key, position), "must not stand twice in the list")


def _entries(tree: object, section: str) -> Iterable[tuple[int, Mapping[str, object]]]:
    entries = _part(tree, section)
    if isinstance(entries, list | tuple):
        for index, entry in enumerate(entries):
            if isinstance(entry, Mapping):
                yield index, entry


def _part(tree: object, key: str) -> object:
    return tree.get(key) if isinstance(tree, Mapping) else None
