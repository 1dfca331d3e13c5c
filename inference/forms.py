"""The network of a package in its fastest form: measured on a window as the package wants them, and taken when it is loaded."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network import autocast, network_of
from inference.package import Package
from inference.passes import Timed
from inference.recipe import THIS_SERIES
from inference.tuning import Tuning, formed, tuned


def measured(package: Package, device: torch.device) -> Tuning:
    """Which form is the fastest on the device. The network stays as it came: see `take`."""
    window = window_of(package, device)
    network = network_of(package, device)
    use = package.manifest.use
    if window is None or use is None or not isinstance(network, Timed):
        return Tuning(refused={"all": "the network is not run by windows of one size"})
    with autocast(use, device):
        return tuned(network.network, window)


def take(package: Package, device: torch.device, tuning: Tuning) -> None:
    """From now on `network_of` gives the network in this form; as it came, where it cannot be had any more."""
    window, network, use = window_of(package, device), network_of(package, device), package.manifest.use
    if window is None or use is None or not isinstance(network, Timed):
        return
    network.room.best = tuning.batch
    try:
        with torch.inference_mode(), autocast(use, device):
            made = formed(network.network, tuning.form, window)
            for _ in range(2):  # what is compiled or fused when it first runs is so before a study comes
                made(window)
    except Exception:  # noqa: BLE001 - a form is for speed alone
        return
    network.network = made


def window_of(package: Package, device: torch.device) -> Tensor | None:
    """Noise of the size of a window, 0 to 1: float32 (1, channels, *patch); None where images are not run by windows."""
    use, preprocessing = package.manifest.use, package.manifest.preprocessing
    if use is None or use.patch is None or use.sampler is not None:
        return None
    channels = len(preprocessing.channels if preprocessing else (THIS_SERIES,))
    return torch.rand((1, channels, *use.patch), generator=torch.Generator().manual_seed(1)).to(device)
