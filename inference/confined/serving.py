"""Within a model process: one model is loaded, and says what it finds in the volumes that are lent to it.

Whatever goes wrong is said in words. After what is not understood the process ends, so that nothing half done meets the next
volume.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from inference import analysis as _  # noqa: F401 - loaded now, while nobody counts the seconds
from inference import forms, kept, tunings
from inference.confined.figures import data_bytes
from inference.confined.idle import Idle
from inference.confined.lending import borrowed
from inference.confined.wire import Connection, Gone, Message, close_all, memory_of
from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.manifest import Manifest, PythonRuntime
from inference.network import network_of
from inference.package import Package
from inference.passes import PASSES
from inference.predict import computed


class Loaded:
    """The model of this process. before: what the process took of memory without it."""

    def __init__(self, told: Message, before: int) -> None:
        manifest = Manifest.model_validate_json(told["manifest"])
        if isinstance(manifest.runtime, PythonRuntime):
            raise InferenceError("code of the node itself does not run here")
        self._package = Package(manifest, Path(told["folder"]), told["content_sha256"])
        self._before = before
        self.device = chosen_device(self._package.device_for(told["device"]))
        self._bound(told)
        network_of(self._package, self.device)
        if fastest := told.get("tunings", {}).get(self.device.type):
            forms.take(self._package, self.device, tunings.told(fastest))

    def found(self, told: Message, descriptors: Sequence[int]) -> int:
        """A descriptor of memory that holds the findings."""
        self._bound(told)
        volumes = borrowed(told, descriptors)
        volume = volumes.pop("")
        device: Literal["cuda", "cpu"] = "cuda" if self.device.type == "cuda" else "cpu"
        findings = computed(volume, self._package, device, volumes, seed=told["seed"])
        if device == "cuda":
            torch.cuda.empty_cache()  # another process has the next turn on this GPU
        return memory_of(kept.parts(findings, packed=False))

    def tuned(self, told: Message) -> Message:
        """Which form of the network is the fastest here."""
        self._bound(told)
        return asdict(forms.measured(self._package, self.device))

    def passes(self) -> Message:
        """What forward passes took since it was asked the last time."""
        taken = PASSES.taken()
        return {"count": taken.count, "seconds": taken.seconds}

    def _bound(self, told: Message) -> None:
        """So much memory and no more, so that to ask for more fails at once.

        With CUDA, which asks for room that it never takes, that bound is for the memory of the GPU. The node watches what is
        taken of the machine's in any case.
        """
        if self.device.type == "cpu":
            most = self._before + told["memory_bytes"] + told["lent_bytes"]
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        elif most := self._package.manifest.resources.gpu_memory_bytes:
            there = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, most / there))


def serve(end: socket.socket, missing: Sequence[str]) -> None:
    """Answer one message after the other, until there are no more. missing: the walls that could not be raised."""
    connection, before, idle = Connection(end), data_bytes(), Idle()
    loaded: Loaded | None = None
    goes_on = True
    connection.send({"said": "ready", "missing": list(missing)})
    while goes_on:
        try:
            told, descriptors = connection.receive(idle.seen)
        except Gone:
            return
        answers: list[int] = []
        try:
            if told["do"] == "load":
                loaded = Loaded(told, before)
                answer: Message = {"said": "loaded", "device": str(loaded.device)}
            elif loaded is not None and told["do"] == "tune":
                answer = {"said": "tuned", "tuning": loaded.tuned(told)}
            elif loaded is not None:
                answers.append(loaded.found(told, descriptors))
                answer = {"said": "found", "passes": loaded.passes()}
        except InferenceError as error:
            answer = {"said": "refused", "kind": type(error).__name__, "words": str(error)}
        except Exception as error:  # noqa: BLE001 - a network may fail in any way, and each must be told
            answer, goes_on = {"said": "failed", "words": f"{type(error).__name__}: {error}"}, False
        idle.begins()
        connection.send(answer, answers)
        close_all((*descriptors, *answers))
