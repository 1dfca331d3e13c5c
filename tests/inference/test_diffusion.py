"""What is drawn from a network that takes noise away is what MONAI draws, the same for a seed however the network is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor, nn

from inference.diffusion import Drawn, ddim, drawn, timesteps
from inference.errors import InferenceError, PackageError
from inference.findings import Findings
from inference.predict import predict
from inference.recipe import Use
from inference.sampling import Sampler
from inference.series import read_series
from tests.inference.made_models import ANATOMY, DENSE, HU, LUNG, NOT_INPUT, package, torchscript
from tests.inference.series_factory import Shape, make_series

CPU = torch.device("cpu")
SCHEDULES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta", "cosine": "cosine"}
PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
SHAPE = (1, 4, 5, 6)


class Denoiser(nn.Module):
    """Random weights, of what was drawn so far, the image and the timestep: (batch, 2, ...) to (batch, 1, ...)."""

    def __init__(self, axes: int = 3, inputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        kind = nn.Conv3d if axes == 3 else nn.Conv2d
        self.mix = kind(inputs, 4, 1)
        self.tell = kind(4, 1, 1)

    def forward(self, image: Tensor, timestep: Tensor) -> Tensor:
        at = (timestep / 1000).view([-1] + [1] * (image.ndim - 1))
        told: Tensor = self.tell(torch.tanh(self.mix(image)) * (1 + at))
        return told


def sampler(**values: Any) -> Sampler:
    return Sampler.model_validate({"kind": "ddim", "steps": 10, **values})


def image() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def by_monai(network: nn.Module, of: Tensor, chosen: Sampler, seed: int = 0) -> Tensor:
    """MONAI's own scheduler, step by step, from the same noise."""
    betas = {} if chosen.schedule == "cosine" else {"beta_start": chosen.beta_start, "beta_end": chosen.beta_end}
    low, high = chosen.clip or (0.0, 0.0)
    scheduler = DDIMScheduler(
        num_train_timesteps=chosen.train_steps,
        schedule=SCHEDULES[chosen.schedule],
        prediction_type=PREDICTIONS[chosen.prediction],
        clip_sample=chosen.clip is not None,
        clip_sample_min=low,
        clip_sample_max=high,
        **betas,
    )
    scheduler.set_timesteps(chosen.steps)
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(of.shape, generator=generator)
    for timestep in timesteps(chosen):
        told = network(torch.cat([found, of])[None], torch.tensor([timestep]))[0]
        found, _ = scheduler.step(told, timestep, found, eta=chosen.eta, generator=generator)
    return found


@pytest.mark.parametrize(
    "values",
    [
        *({"schedule": schedule} for schedule in SCHEDULES),
        *({"prediction": prediction} for prediction in PREDICTIONS),
        {"clip": None, "schedule": "scaled_linear"},
        {"clip": (0.0, 1.0)},
        {"eta": 0.7},
        {"eta": 1.0, "steps": 25},
        {"timesteps": "linspace"},
        {"timesteps": "trailing", "prediction": "v"},
        {"beta_start": 0.0015, "beta_end": 0.0195, "schedule": "scaled_linear", "steps": 7},
        {"train_steps": 50, "steps": 50},
    ],
    ids=str,
)
def test_each_way_of_sampling_gives_what_monai_gives(values: dict[str, Any]) -> None:
    chosen, network, of = sampler(**values), Denoiser().eval(), image()
    with torch.inference_mode():
        expected = by_monai(network, of, chosen)
        found = drawn(of, network, Use(sampler=chosen.model_copy(update={"ends": (0.0, 1.0)})), CPU).mean
    # Without clipping values grow as the noise schedule has them grow: 1e-5 of the largest.
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))
    assert float(expected.std()) > 0.01


def test_timesteps_are_those_of_monai() -> None:
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    for steps in (1, 3, 10, 50, 1000):
        scheduler.set_timesteps(steps)
        assert timesteps(sampler(steps=steps, timesteps="linspace")) == scheduler.timesteps.tolist()
    assert timesteps(sampler(steps=4)) == [750, 500, 250, 0]
    assert timesteps(sampler(steps=4, timesteps="trailing")) == [999, 749, 499, 249]


def run(use: dict[str, Any], network: nn.Module, of: Tensor) -> Drawn:
    with torch.inference_mode():
        return drawn(of, network, Use.model_validate(use), CPU)


def test_a_seed_gives_the_same_and_another_seed_something_else() -> None:
    one, again, other = (
        run({"sampler": {"kind": "ddim", "steps": 5, "seed": seed}}, Denoiser(), image()).mean for seed in (7, 7, 8)
    )
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-2)


@pytest.mark.parametrize(
    "use",
    [
        {"mode": "windows", "patch": (3, 3, 3), "overlap": 0.5, "batch": 3},
        {"mode": "windows", "patch": (8, 8, 8)},
    ],
    ids=["windows", "one large window"],
)
def test_by_windows_the_same_is_drawn_as_from_the_whole(use: dict[str, Any]) -> None:
    """This network looks at each voxel by itself, so that windows must agree with the whole."""
    drawing = {"kind": "ddim", "steps": 5, "eta": 0.5}
    whole = run({"sampler": drawing}, Denoiser(), image()).mean
    assert torch.allclose(run({"sampler": drawing, **use}, Denoiser(), image()).mean, whole, atol=1e-5)


def test_slice_by_slice_the_same_is_drawn_however_many_go_at_once() -> None:
    drawing = {"kind": "ddim", "steps": 5}
    one, many = (
        run({"sampler": drawing, "mode": "slices", "batch": batch}, Denoiser(axes=2), image()).mean for batch in (1, 4)
    )
    assert torch.allclose(one, many, atol=1e-6)


@pytest.mark.parametrize("joined", [("drawn", "image"), ("image", "drawn")])
def test_neighbours_are_those_of_the_image_and_what_is_drawn_goes_in_alone(joined: tuple[str, str]) -> None:
    """Of (drawn, before, itself, after) the network tells one: `sample` makes that the answer."""

    class Tells(nn.Module):
        def __init__(self, channel: int) -> None:
            super().__init__()
            self.channel = channel

        def forward(self, batch: Tensor, _timestep: Tensor) -> Tensor:
            assert batch.shape[1] == 4
            return batch[:, self.channel : self.channel + 1]

    of = image()
    drawing = {"kind": "ddim", "steps": 1, "prediction": "sample", "ends": (0.0, 1.0), "joined": joined}
    before = 1 if joined[0] == "drawn" else 0
    for channel, planes in ((before, [0, 0, 1, 2]), (before + 1, [0, 1, 2, 3]), (before + 2, [1, 2, 3, 3])):
        found = run({"sampler": drawing, "mode": "slices", "neighbours": 1}, Tells(channel), of).mean
        assert torch.allclose(found, of[:, planes], atol=1e-6)
    noise = run({"sampler": drawing, "mode": "slices", "neighbours": 1}, Tells(0 if before else 3), of).mean
    expected = torch.randn(of.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert torch.allclose(noise, expected, atol=1e-6)


def test_of_an_ensemble_the_answer_is_the_mean_and_what_is_unsure_deviates() -> None:
    chosen, network, of = sampler(ensemble=5, seed=11), Denoiser(), image()
    found = run({"sampler": chosen.model_dump()}, network, of)
    with torch.inference_mode():
        each = torch.stack([by_monai(network, of, chosen, seed) for seed in range(11, 16)])
    share = (each + 1) / 2
    assert torch.allclose(found.mean, share.mean(dim=0), atol=1e-5)
    assert found.deviation is not None
    assert torch.allclose(found.deviation, share.std(dim=0, correction=0), atol=1e-5)
    assert run({"sampler": sampler().model_dump()}, network, of).deviation is None


def test_a_network_that_tells_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"as many channels as are drawn.*2, but told 1"):
        run({"sampler": {"kind": "ddim", "steps": 2, "channels": 2}}, Denoiser(inputs=3), image())


def test_noise_is_taken_away_where_the_network_knows_it() -> None:
    """A network that tells the exact noise leads back to the image, in one step or in many."""
    of = image() * 2 - 1

    def perfect(found: Tensor, timestep: int) -> Tensor:
        share = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)[timestep]
        return (found - share.sqrt() * of) / (1 - share).sqrt()

    for steps in (1, 20):
        found = ddim(perfect, SHAPE, sampler(steps=steps, timesteps="trailing"), torch.Generator().manual_seed(2))
        assert torch.allclose(found, of, atol=1e-4)


class OutlineOf(nn.Module):
    """Draws 1 where the image is above a half, and -1 elsewhere, whatever the noise."""

    def forward(self, batch: Tensor, timestep: Tensor) -> Tensor:
        return torch.where(batch[:, 1:2] > 0.5, 1.0, -1.0) + 0 * timestep.float().mean()


PROBABILITY = {"value": "122157", "scheme": "DCM", "meaning": "Probability"}
ONE = {"value": "1", "scheme": "UCUM", "meaning": "no units"}
CHANGES: dict[str, Any] = {
    "preprocessing": {"intensity": [{"kind": "scale", "low": -1024.0, "high": 3071.0}]},
    "use": {"sampler": {"kind": "ddim", "steps": 4, "prediction": "sample", "ensemble": 3}},
    "postprocessing": {"decide": "threshold", "threshold": 0.5},
}


def a_map(**values: Any) -> dict[str, Any]:
    return {"key": "m", "label": "M", "quantity": PROBABILITY, "unit": ONE, "shown": [0.0, 1.0], **values}


def found_by(folder: Path, outputs: dict[str, Any], network: nn.Module | None = None, **changes: Any) -> Findings:
    volume = read_series(make_series(Shape()).datasets).volumes[0]
    told = {"not_analysed": {"input_refused": NOT_INPUT}, **outputs}
    made = package(folder, torchscript(network or OutlineOf()), outputs=told, **(CHANGES | changes))
    return predict(volume, made, "cpu")


def test_a_segment_and_its_probability_are_drawn(tmp_path: Path) -> None:
    maps = [a_map(key="share"), a_map(key="unsure", of="uncertainty")]
    findings = found_by(tmp_path, {"segments": [DENSE | {"index": 0}], "maps": maps})
    dense = read_series(make_series(Shape()).datasets).volumes[0].voxels > 1023.5
    assert np.array_equal(findings.segments[0].mask, dense)
    share, unsure = findings.heat_maps
    assert np.array_equal(share.values, dense.astype(np.float32))
    assert float(unsure.values.max()) == 0.0
    assert findings.parameters == {"sampler": "ddim 4/1000, seed 0, 3 drawn"}


class Darker(nn.Module):
    """A restored image that is a tenth of its range below the image."""

    def forward(self, batch: Tensor, timestep: Tensor) -> Tensor:
        return (batch[:, 1:2] - 0.1) * 2 - 1 + 0 * timestep.float().mean()


def test_a_restored_image_and_what_it_changed_are_told_in_the_unit_of_the_image(tmp_path: Path) -> None:
    becomes = {"becomes": [-1024.0, 3071.0], "unit": HU, "quantity": LUNG}
    outputs = {
        "maps": [
            a_map(key="restored", shown=[-1000.0, 1000.0], **becomes),
            a_map(key="change", of="difference", shown=[-500.0, 500.0], **becomes),
        ],
        "measurements": [
            {"key": "mean", "name": LUNG, "unit": HU, "compute": "mean", "of": ["change"]},
            {"key": "least", "name": LUNG, "unit": HU, "compute": "minimum", "of": ["restored"]},
        ],
    }
    sampler_ = {"kind": "ddim", "steps": 2, "prediction": "sample", "clip": [-2.0, 2.0]}
    findings = found_by(tmp_path, outputs, Darker(), use={"sampler": sampler_})
    volume = read_series(make_series(Shape()).datasets).volumes[0]
    restored, change = findings.heat_maps
    assert restored.values == pytest.approx(volume.voxels - 409.5, abs=0.1)
    assert change.values == pytest.approx(np.full_like(volume.voxels, -409.5), abs=0.1)
    assert {item.finding_key for item in findings.measurements} == {None}
    least = float(volume.voxels.min()) - 409.5
    assert [item.value for item in findings.measurements] == pytest.approx([-409.5, least], abs=0.1)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"use": {"sampler": {"kind": "ddim", "steps": 20, "train_steps": 10}}},
            "steps must be at most train_steps 10",
        ),
        ({"use": {"sampler": {"kind": "ddpm", "steps": 2}}}, "use.sampler.kind"),
        (
            {"use": {"sampler": {"kind": "ddim", "steps": 2, "beta_start": 0.5}}},
            "beta_start 0.5 is above beta_end 0.02",
        ),
        ({"use": {"sampler": {"kind": "ddim", "steps": 2, "ends": [1.0, 1.0]}}}, "ends must be two numbers"),
        (
            {"use": {"sampler": {"kind": "ddim", "steps": 2, "joined": ["image", "image"]}}},
            "joined must name drawn and",
        ),
        ({"use": {"sampler": {"kind": "ddim", "steps": 2}, "flips": [[0]]}}, "flips are not for a sampler"),
        (
            {"outputs": {"maps": [a_map(of="uncertainty")]}, "use": {"sampler": {"kind": "ddim", "steps": 2}}},
            "map m is of uncertainty, which takes a use.sampler with an ensemble",
        ),
        (
            {"outputs": {"maps": [a_map(), a_map()]}},
            "key m is given twice",
        ),
        ({"outputs": {"maps": [a_map(shown=[1.0, 0.0])]}}, "shown must be two numbers"),
        (
            {
                "outputs": {
                    "detections": [
                        {"key": "n", "label": "N", "category": ANATOMY, "type": LUNG, "index": 1, "least_score": 0.5}
                    ]
                },
                "use": {"sampler": {"kind": "ddim", "steps": 2}},
            },
            "use.sampler is for segments and maps",
        ),
    ],
)
def test_a_sampler_or_map_that_cannot_be_followed_is_refused(
    changes: dict[str, Any], rule: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=rule):
        found_by(tmp_path, **({"outputs": {"maps": [a_map()]}} | changes))


def test_a_map_of_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="channel 3 of the network's answer, which has 1"):
        found_by(tmp_path, {"maps": [a_map(index=3)]})
