"""The same job gives the same bytes again: what draws numbers is seeded for it, and what need not be exact is done exactly.

Only while a model runs: afterwards torch is as it was, and so are its random numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic

SEEDS = 2**63
"""A seed is from 0 to below this."""


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed torch's generators, on the CPU and on CUDA, and take deterministic algorithms wherever there are some.

    A network that samples draws from torch's default generator, or makes one of its own from `torch.initial_seed()`. One that
    uses an operation without a deterministic form runs all the same. Raises ValueError for a seed that is none.
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"a seed must be from 0 to below 2 to the 63rd, but is {seed}")
    mode, fills = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmarks = torch.backends.cudnn.benchmark
    on_cuda = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(on_cuda), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deterministic")
        torch.manual_seed(seed)
        # Same switch as use_deterministic_algorithms, without its import of the compiler, which takes over a second.
        torch.set_deterministic_debug_mode("warn")
        # Nothing reads what it did not write; to fill all memory first would only take time.
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        # Else the fastest algorithm of the moment is taken, which may be another one the next time.
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)
            deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = benchmarks
