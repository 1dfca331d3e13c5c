"""Which form of a network is the fastest here: found by measuring, taken only where it answers the same, kept for the next start.

Forms are tried on a window of noise, beside the network as it came, in turn. One is taken where its answers agree and it takes at
most 95 % of the time. So it is decided when a version is activated, never while a study waits.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

Form = Literal["plain", "channels_last", "frozen", "compiled"]
"""channels_last: the values of a voxel lie side by side. frozen: TorchScript with weights as constants, and layers fused.
compiled: torch.compile."""
FORMS: tuple[Form, ...] = get_args(Form)
BATCHES = (2, 4)
ROUNDS = 3
SLOW_S = 5.0
"""A network that takes longer for a window is timed once, not in rounds."""
PAYS = 0.95
TOLERANCE = 1e-4
"""Of the largest absolute value of an answer."""
MOST_SECONDS = 60.0
"""No form is tried any more when all have taken so long."""

Network = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Tuning:
    """form, batch: what is the fastest; batch None where that was not measured. seconds: of a window, by form, and of batches of
    the form that was taken, as "plain x 2". refused: forms that cannot be taken, and why."""

    form: Form = "plain"
    batch: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def tuned(network: Network, window: Tensor) -> Tuning:
    """Measure the forms of a network on a window (1, channels, *space), which lies on its device."""
    with torch.inference_mode():
        plain = network(window)
        if not isinstance(network, nn.Module) or not isinstance(plain, Tensor):
            return Tuning(refused=dict.fromkeys(FORMS[1:], "the network is run as it is"))
        made, refused = _forms(network, window, plain)
        seconds = _seconds({"plain": network, **made}, window)
        form = min(seconds, key=lambda name: seconds[name])
        if seconds[form] > PAYS * seconds["plain"]:
            form = "plain"
        batch, of_batches = _best_batch(made.get(form, network), window, seconds[form])
    return Tuning(cast(Form, form), batch, seconds | {f"{form} x {many}": s for many, s in of_batches.items()}, refused)


def formed(network: Network, form: Form, window: Tensor) -> Network:
    """The network in a form, as `tuned` measured it. Raises as torch does where it has no such form."""
    if form == "plain" or not isinstance(network, nn.Module):
        return network
    return _MAKERS[form](network, window)


def _forms(network: nn.Module, window: Tensor, plain: Tensor) -> tuple[dict[str, Network], dict[str, str]]:
    """The forms that the network has here, and why it has no others."""
    made: dict[str, Network] = {}
    refused: dict[str, str] = {}
    started = time.monotonic()
    for form, maker in _MAKERS.items():
        if time.monotonic() - started > MOST_SECONDS:
            refused[form] = f"not tried: the ones before took more than {MOST_SECONDS:g} s"
            continue
        try:
            one = maker(network, window)
            for _ in range(2):  # what is optimised by what came first may answer otherwise the second time
                answer = one(window)
        except Exception as error:  # noqa: BLE001 - compilers may fail in any way; the network as it came is there
            refused[form] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
            continue
        if not isinstance(answer, Tensor) or answer.shape != plain.shape:
            refused[form] = "it answers with something else"
        elif (by := float((answer.float() - plain.float()).abs().max())) > TOLERANCE * float(plain.abs().max()):
            refused[form] = f"its answers differ by up to {by:.2g}"
        else:
            made[form] = one
    return made, refused


def _seconds(networks: Mapping[str, Network], window: Tensor) -> dict[str, float]:
    """The least of some rounds, the networks in turn."""
    found: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        for name, network in networks.items():
            found[name].append(_once(network, window))
        if max(map(max, found.values())) > SLOW_S:
            break
    return {name: min(taken) for name, taken in found.items()}


def _best_batch(network: Network, window: Tensor, one: float) -> tuple[int | None, dict[int, float]]:
    """How many windows at once take the least time for each of them, and the times. On a GPU memory decides that."""
    if window.device.type == "cuda" or one > SLOW_S:
        return None, {}
    found: dict[int, float] = {}
    best, least = 1, one
    for many in BATCHES:
        windows = window.repeat(many, *[1] * (window.ndim - 1))
        try:
            network(windows)
            found[many] = min(_once(network, windows) for _ in range(ROUNDS)) / many
        except (RuntimeError, MemoryError):
            break
        if found[many] > PAYS * least:
            break
        best, least = many, found[many]
    return best, found


def _once(network: Network, window: Tensor) -> float:
    if window.device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    network(window)
    if window.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _channels_last(network: nn.Module, window: Tensor) -> Network:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}[window.ndim]
    turned = copy.deepcopy(network).to(memory_format=layout)  # type: ignore[call-overload]

    def run(given: Tensor) -> object:
        answer = turned(given.contiguous(memory_format=layout))
        return answer.contiguous() if isinstance(answer, Tensor) else answer

    return run


def _frozen(network: nn.Module, window: Tensor) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = network if isinstance(network, torch.jit.ScriptModule) else torch.jit.trace(network, window)  # type: ignore[no-untyped-call]
        frozen: Network = torch.jit.optimize_for_inference(torch.jit.freeze(script.eval()))
    return frozen


def _compiled(network: nn.Module, _window: Tensor) -> Network:
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None:
        raise RuntimeError("there is no compiler")
    # Behind the walls of a model process no program may be started.
    subprocess.run([compiler, "--version"], check=True, capture_output=True)
    compiled: Network = torch.compile(network)
    return compiled


_MAKERS: dict[Form, Callable[[nn.Module, Tensor], Network]] = {
    "channels_last": _channels_last,
    "frozen": _frozen,
    "compiled": _compiled,
}
