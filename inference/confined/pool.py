"""The model processes of this process, kept warm: the next study of a model finds it loaded.

`predict` is what `inference.predict.predict` is, and what comes back the same; but a model from outside never runs here.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from inference import kept, memory, tunings
from inference.confined.lending import bytes_lent, lent
from inference.confined.process import Bounds, ModelProcess
from inference.confined.wire import Message, close_all, sealed_content
from inference.devices import chosen_device
from inference.errors import InferenceError, ModelProcessEnded
from inference.findings import Findings
from inference.manifest import PythonRuntime
from inference.package import Package
from inference.passes import PASSES, Taken
from inference.predict import computed, refusal
from inference.tuning import Tuning
from inference.turns import TURNS
from inference.volume import Volume

KEPT_AT_ONCE = 4
MEASURING_TIMEOUT_S = 600.0
_MOST_SECONDS = 1e6
_SHORT = ("allocate memory", "out of memory", "MemoryError")

Device = Literal["auto", "cpu", "cuda"]
_NONE: Mapping[str, Volume] = MappingProxyType({})


def predict(
    volume: Volume,
    package: Package,
    device: Device = "auto",
    companions: Mapping[str, Volume] = _NONE,
    *,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> Findings:
    """As `inference.predict.predict`; a package with weights runs in a process of its own, within bounds.

    Raises InferenceError in its words, and ModelProcessEnded where that process is no more.
    """
    refused = refusal(volume, package, companions)
    if refused is not None:
        return refused
    if isinstance(package.manifest.runtime, PythonRuntime):
        with TURNS.at(chosen_device(package.device_for(device)).type):
            return computed(volume, package, device, companions, seed=seed)
    return POOL.predict(volume, package, device, companions, seed=seed, bounds=bounds or bounds_of(package))


def room_for(package: Package) -> AbstractContextManager[None]:
    """Within it volumes are read that the package's process is lent as they are."""
    is_ours = isinstance(package.manifest.runtime, PythonRuntime)
    return memory.VOXELS.for_borrower(None if is_ours else package.content_sha256)


def bounds_of(
    package: Package, *, timeout_s: float | None = None, spent_s: float = 0.0, memory_bytes: int | None = None
) -> Bounds:
    """What the package asks for, within what is allowed; of memory without either, three quarters of the machine's."""
    resources = package.manifest.resources
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most_bytes = memory_bytes or machine_bytes * 3 // 4
    return Bounds(timeout_s or resources.timeout_s, min(resources.memory_bytes or most_bytes, most_bytes), spent_s)


def tuned(package: Package, device: Device = "auto", bounds: Bounds | None = None) -> Tuning:
    """Measure which form of the package's network is the fastest here, and keep that beside its version for all that load it.

    It takes as long as some dozens of windows, so it is done when a version is activated. Only a network that is run by windows
    of one size is measured. Raises as `predict` does.
    """
    use = package.manifest.use
    if isinstance(package.manifest.runtime, PythonRuntime) or use is None or use.patch is None:
        return Tuning()
    return POOL.tune(package, device, bounds or bounds_of(package, timeout_s=MEASURING_TIMEOUT_S))


class Pool:
    """One model computes at a time: two would only take each other's cores and memory."""

    def __init__(self, kept_at_once: int = KEPT_AT_ONCE) -> None:
        self._kept_at_once = kept_at_once
        self._processes: OrderedDict[tuple[str, str], ModelProcess] = OrderedDict()
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def predict(
        self,
        volume: Volume,
        package: Package,
        device: Device,
        companions: Mapping[str, Volume],
        *,
        seed: int,
        bounds: Bounds,
    ) -> Findings:
        """What the package's network says of volumes that its contract takes."""
        volumes, key = {"": volume, **companions}, (package.content_sha256, device)
        with self._lock:
            is_fresh = key not in self._processes or not self._processes[key].is_alive
            try:
                answer, findings = self._found(volumes, package, device, seed, bounds)
            except InferenceError as error:
                if is_fresh or isinstance(error, ModelProcessEnded) or not any(said in str(error) for said in _SHORT):
                    raise
                # What earlier volumes left of its memory may lie in pieces, none of which is large enough.
                self._forget(key)
                answer, findings = self._found(volumes, package, device, seed, bounds)
        _require_fit(findings, volume, package)
        PASSES.add(_taken(answer))
        return findings

    def _found(
        self, volumes: Mapping[str, Volume], package: Package, device: Device, seed: int, bounds: Bounds
    ) -> tuple[Message, Findings]:
        doing = f"while it ran {package.key}"
        process, left = self._loaded(package, device, bounds)
        message, descriptors = lent(volumes, package.content_sha256)
        came: list[int] = []
        try:
            told = {"do": "find", "seed": seed, **message}
            with TURNS.at(process.device):
                answer, came = process.ask(told, descriptors, left, doing, lent_bytes=bytes_lent(message))
            if len(came) != 1:
                raise InferenceError(f"the model process answered with {len(came)} descriptors {doing}")
            return answer, kept.from_bytes(sealed_content(came[0], kept.MAX_BYTES))
        finally:
            close_all((*descriptors, *came))

    def load(self, package: Package, device: Device, bounds: Bounds) -> str:
        """Load the package's network, where it is not; returns the device that it is on."""
        with self._lock:
            process, _ = self._loaded(package, device, bounds)
            return process.device

    def tune(self, package: Package, device: Device, bounds: Bounds) -> Tuning:
        """As `tuned`. The process ends with it: what it tried stays in its memory."""
        with self._lock:
            process, left = self._loaded(package, device, bounds)
            try:
                answer, came = process.ask({"do": "tune"}, (), left, f"while {package.key} was measured")
                close_all(came)
            finally:
                self._forget((package.content_sha256, device))
        found = answer.get("tuning")
        tuning = tunings.told(found) if isinstance(found, dict) else Tuning()
        tunings.keep(package, process.device, tuning)
        return tuning

    def untold(self) -> tuple[str, ...]:
        """Walls that this system did not allow, in words; each only once."""
        with self._lock:
            missing = {words for process in self._processes.values() for words in process.missing}
            fresh, self._told = missing - self._told, self._told | missing
        return tuple(sorted(fresh))

    def end(self) -> None:
        """End all model processes; the next one that is needed is started anew."""
        with self._lock:
            while self._processes:
                self._processes.popitem()[1].end()

    def _loaded(self, package: Package, device: Device, bounds: Bounds) -> tuple[ModelProcess, Bounds]:
        """The package's process, and what is left of the bounds when it is ready."""
        key = (package.content_sha256, device)
        process = self._processes.get(key)
        if process is not None and process.is_alive:
            self._processes.move_to_end(key)
            return process, bounds
        self._forget(key)
        while len(self._processes) >= self._kept_at_once:
            self._forget(next(iter(self._processes)))
        process = self._processes[key] = ModelProcess()
        began = time.monotonic()
        try:
            process.load(package, device, bounds)
        except BaseException:
            self._forget(key)
            raise
        return process, replace(bounds, spent_s=bounds.spent_s + time.monotonic() - began)

    def _forget(self, key: tuple[str, str]) -> None:
        with suppress(KeyError):
            self._processes.pop(key).end()


def _taken(answer: Message) -> Taken:
    """What forward passes took by the word of the model process; nothing where that is no such word."""
    told = answer.get("passes")
    count, seconds = (told.get("count"), told.get("seconds")) if isinstance(told, dict) else (None, None)
    if not isinstance(count, int) or not isinstance(seconds, float) or count < 0 or not 0 <= seconds < _MOST_SECONDS:
        return Taken(0, 0.0)
    return Taken(count, seconds)


def _require_fit(findings: Findings, volume: Volume, package: Package) -> None:
    """Raises InferenceError where a model process tells what its manifest does not declare, or of another grid."""
    declared = {output.key for output in package.manifest.outputs.segments}
    arrays = [(segment.key, segment.array) for segment in findings.segments]
    arrays += [(heat_map.key, heat_map.values) for heat_map in findings.heat_maps]
    for key, array in arrays:
        if array.shape != volume.voxels.shape:
            raise InferenceError(
                f"{package.key} answered with {key} of {array.shape} for images of {volume.voxels.shape}"
            )
    for segment in findings.segments:
        # On a picture, the key has the picture's mark behind it.
        if not any(segment.key == key or segment.key.startswith(f"{key}_") for key in declared):
            raise InferenceError(
                f"{package.key} answered with segment {segment.key!r}, which its manifest does not declare"
            )


POOL = Pool()
"""Of this process."""
atexit.register(POOL.end)
