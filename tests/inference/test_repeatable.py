"""What a model draws by chance is the same in every run of a job, and leaves no trace in the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.circumstances import circumstances_of
from inference.package import BUILT_IN, load_package
from inference.predict import predict
from inference.repeatable import SEEDS, repeatable
from inference.series import read_series
from tests.inference.made_models import package, torchscript
from tests.inference.series_factory import Shape, make_series


class Sampling(torch.nn.Module):
    """Draws its answer, as a diffusion model does."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.randn_like(image), torch.randn_like(image)], 1)


def test_the_same_seed_draws_the_same_numbers_and_another_one_others() -> None:
    drawn = []
    for seed in (1, 1, 2):
        with repeatable(seed):
            drawn.append(torch.randn(8))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_torch_is_afterwards_as_it_was_even_where_the_model_fails() -> None:
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    with pytest.raises(RuntimeError, match="shape"), repeatable(1):
        torch.randn(4).view(3)
    assert (torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark) == before
    assert torch.equal(torch.randn(4), expected)


@pytest.mark.parametrize("seed", [-1, SEEDS])
def test_what_is_no_seed_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed must be"), repeatable(seed):
        pass


def test_a_model_that_samples_repeats_itself(tmp_path: Path) -> None:
    made = package(tmp_path, torchscript(Sampling()))
    volume = read_series(make_series(Shape()).datasets).volumes[0]
    first, again, other = (predict(volume, made, "cpu", seed=seed).segments[0].mask for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_circumstances_of_a_run_name_device_precision_and_threads() -> None:
    told = circumstances_of(load_package(BUILT_IN / "ct_lung_density"), "cpu")
    assert told["device"] == "cpu"
    assert told["precision"] == "fp32"
    assert told["threads"] == str(torch.get_num_threads())
    assert told["processor"] != "unknown"
