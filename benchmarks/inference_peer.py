"""MONAI as its users run a bundle: one series at a time, in a process that stays. It needs nothing of this project.

python -m benchmarks.inference_peer BUNDLE FOLDER DEVICE answers each line of its input with a line of JSON:
`run` from the folder of images to the labels on their grid; `pass` one forward pass; `labels FILE` as run, the labels kept;
`probabilities` as run, with probabilities brought back to the images, and only then decided by.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.inference_models import PROBABILITIES


class Peer:
    """The bundle's transforms, inferer and network, made by MONAI's own ConfigParser."""

    def __init__(self, bundle: Path, folder: Path, device: torch.device) -> None:
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / "inference.json"))
        self._before = parser.get_parsed_content("preprocessing")
        self._inferer = parser.get_parsed_content("inferer")
        self._after = {name: parser.get_parsed_content(name) for name in ("postprocessing", PROBABILITIES)}
        self._patch = parser.get("inferer")["roi_size"]
        self._network = parser.get_parsed_content("network_def").to(device).eval()
        self._network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
        self._folder, self._device = folder, device
        self._passes_s: list[float] = []

    def run(self, after: str = "postprocessing") -> tuple[dict[str, float], Any]:
        """Seconds by part, `network` being what forward passes took of `windows`; and the labels (1, x, y, z)."""
        self._passes_s.clear()
        times = [time.perf_counter()]
        with torch.no_grad():
            data = self._before({"image": str(self._folder)})
            times.append(time.perf_counter())
            found = self._inferer(data["image"][None].to(self._device), self._timed)
            times.append(time.perf_counter())
            data["pred"] = found[0]
            data = self._after[after](data)
        times.append(time.perf_counter())
        parts = [then - now for now, then in itertools.pairwise(times)]
        told = dict(zip(("before", "windows", "after"), parts, strict=True))
        told |= {"seconds": sum(parts), "network": sum(self._passes_s), "passes": len(self._passes_s)}
        return told, data["pred"]

    def one_pass(self, times: int = 3) -> float:
        """The median seconds of a forward pass, of one window of noise."""
        window = torch.rand((1, 1, *self._patch), generator=torch.Generator().manual_seed(1)).to(self._device)
        with torch.no_grad():
            self._network(window)
            self._passes_s.clear()
            for _ in range(times):
                self._timed(window)
        return statistics.median(self._passes_s)

    def _timed(self, window: torch.Tensor) -> torch.Tensor:
        self._wait()
        started = time.perf_counter()
        answer: torch.Tensor = self._network(window)
        self._wait()
        self._passes_s.append(time.perf_counter() - started)
        return answer

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    warnings.simplefilter("ignore")
    bundle, folder, device = Path(sys.argv[1]), Path(sys.argv[2]), torch.device(sys.argv[3])
    peer = Peer(bundle, folder, device)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "pass":
            answer: object = {"seconds": peer.one_pass()}
        else:
            answer, labels = peer.run(PROBABILITIES if word == "probabilities" else "postprocessing")
            if word == "labels":
                import numpy as np

                np.save(rest, labels[0].cpu().numpy().astype("u1"))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
