"""A fresh interpreter for a model: with this project's code and a small environment, and nothing else of the node.

Nothing here needs torch, so that who only asks which walls there are does not load it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import inference

_HOME = str(Path(inference.__file__).parents[1])
_KEPT_NAMES = frozenset({"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"})
_KEPT_PREFIXES = ("OMP_", "MKL_", "KMP_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "PYTORCH_", "TORCH_")

# What a layer of a network leaves is there for the next one. Else each asks the system for new pages, which takes as long as it
# computes: 1.6 to 2.7 times as long in all. The largest that glibc takes.
_MEMORY = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"


def missing_walls() -> tuple[str, ...]:
    """The walls that this system does not allow around a model process, in words; a process that does nothing else tries them."""
    walls = [sys.executable, "-P", "-s", "-m", "inference.confined.walls"]
    done = subprocess.run(walls, capture_output=True, text=True, env=_environment(), cwd="/", check=False)
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else ("all walls: none could be tried",)


def started(descriptor: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter with this project's code, nothing of this process but one descriptor, and a small environment."""
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "inference.confined.child", str(descriptor), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env=_environment(),
        cwd="/",
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """What the node knows from its environment is none of a model's business, but for how to compute."""
    environment = os.environ.items()
    kept = {name: value for name, value in environment if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)}
    own = {"PYTHONPATH": _HOME, "TMPDIR": "/dev/shm", "PYTHONDONTWRITEBYTECODE": "1", "GLIBC_TUNABLES": _MEMORY}  # noqa: S108
    return kept | own
