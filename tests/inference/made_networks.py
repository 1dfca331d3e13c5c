"""Networks of every architecture, small, with random weights that are the same each time; and how each becomes a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from monai.networks import nets
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from tests.inference.made_models import torch_export


class Centred(nn.Module):
    """Of two channels of random weights neither is to win everywhere: on an example each wins for a half."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.network = network.eval()
        with torch.inference_mode():
            told = self.network(example)
            middle = (told[:, 1] - told[:, 0]).median()
        self.offset = nn.Buffer(torch.tensor([0.0, -float(middle)]).view(1, 2, *[1] * (example.ndim - 2)))

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.network(image)
        return told + self.offset


def unet(example: Tensor) -> nn.Module:
    torch.manual_seed(1)
    return Centred(nets.UNet(example.ndim - 2, example.shape[1], 2, (4, 8), (2,)), example)


def segresnet(example: Tensor) -> nn.Module:
    torch.manual_seed(2)
    made = nets.SegResNet(
        spatial_dims=3, in_channels=example.shape[1], out_channels=2, init_filters=8, blocks_down=(1, 1), blocks_up=(1,)
    )
    return Centred(made, example)


def swin_unetr(example: Tensor) -> nn.Module:
    torch.manual_seed(3)
    made = nets.SwinUNETR(
        in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4
    )
    return Centred(made, example)


class VisionTransformer(nn.Module):
    """Probabilities of three findings; MONAI's own answers with what its layers saw, besides."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.vit = nets.ViT(
            in_channels=1,
            img_size=tuple(size),
            patch_size=(8, 8, 8),
            hidden_size=24,
            mlp_dim=48,
            num_layers=2,
            num_heads=2,
            classification=True,
            num_classes=3,
            post_activation="",
        )

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.vit(image)[0]
        return told


class MixtureOfExperts(nn.Module):
    """At each voxel a gate chooses the `top` best of several experts, whose answers count by its shares (Shazeer et al. 2017)."""

    def __init__(self, experts: int = 4, top: int = 2) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.top = top
        self.gate = nn.Conv3d(1, experts, 3, padding=1)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.GELU(), nn.Conv3d(4, 2, 1)) for _ in range(experts)
        )

    def forward(self, image: Tensor) -> Tensor:
        chosen, which = self.gate(image).topk(self.top, dim=1)
        shares = torch.zeros_like(self.gate(image)).scatter(1, which, torch.softmax(chosen, dim=1))
        told = torch.stack([expert(image) for expert in self.experts], dim=1)
        mixed: Tensor = (shares[:, :, None] * told).sum(dim=1)
        return mixed


class Denoiser(nn.Module):
    """(drawn and image, timestep) to the noise in what is drawn: convolutions that are told the time."""

    def __init__(self, axes: int = 3, inputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(6)
        kind = nn.Conv3d if axes == 3 else nn.Conv2d
        self.axes = axes
        self.into = kind(inputs, 8, 3, padding=1)
        self.time = nn.Linear(2, 8)
        self.out = kind(8, 1, 3, padding=1)

    def forward(self, image: Tensor, timestep: Tensor) -> Tensor:
        angle = timestep.to(image.dtype) / 1000 * torch.pi
        known = self.time(torch.stack([torch.sin(angle), torch.cos(angle)], dim=1))
        told: Tensor = self.out(functional.silu(self.into(image) + known.view(-1, 8, *[1] * self.axes)))
        return told


def monai_denoiser() -> nn.Module:
    torch.manual_seed(7)
    made = nets.DiffusionModelUNet(
        spatial_dims=2, in_channels=2, out_channels=1, channels=(8, 16), attention_levels=(False, False),
        num_res_blocks=1, num_head_channels=8, norm_num_groups=8,
    )  # fmt: skip
    # Its last layer starts as zeros, so that it would tell nothing.
    nn.init.normal_(made.out[-1].conv.weight, std=0.2)
    return made


class Counts(nn.Module):
    """Two numbers of an image: regression by what is left of it when it is made small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.see = nn.Conv3d(1, 4, 3, stride=2)
        self.tell = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.tell(functional.relu(self.see(image)).mean(dim=(2, 3, 4)))
        return told


class Detector(nn.Module):
    """The three cells of 4 x 4 x 4 voxels that score most, each as a box."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.score = nn.Conv3d(1, 1, 4, stride=4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = torch.sigmoid(self.score(image)[0, 0])
        rows, columns = scores.shape[1], scores.shape[2]
        best, which = scores.flatten().topk(3)
        cell = torch.stack([which // (rows * columns), which // columns % rows, which % columns], dim=1)
        corners = torch.cat([cell * 4, cell * 4 + 3], dim=1).to(image.dtype)
        return corners, best, torch.zeros_like(which)


class QuantisedConvolution(nn.Module):
    """Weights as int8, by channel, and activations quantised on the way, in the operations that a PT2E conversion writes."""

    def __init__(self, of: nn.Conv3d | nn.Conv2d, seen: Tensor) -> None:
        super().__init__()
        weight = of.weight.detach()
        scale = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-8) / 127
        shaped = scale.view(-1, *[1] * (weight.ndim - 1))
        self.weight = nn.Buffer((weight / shaped).round().clamp(-127, 127).to(torch.int8))
        self.scale = nn.Buffer(scale)
        self.zeros = nn.Buffer(torch.zeros(len(scale), dtype=torch.int64))
        self.bias = nn.Buffer(of.bias.detach() if of.bias is not None else torch.zeros(len(scale)))
        self.stride, self.padding = tuple(of.stride), tuple(int(by) for by in of.padding)
        self.step = float(seen.abs().max()) / 127 or 1.0
        self.convolve = functional.conv3d if weight.ndim == 5 else functional.conv2d

    def forward(self, image: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        given = ops.quantize_per_tensor(image, self.step, 0, -128, 127, torch.int8)
        given = ops.dequantize_per_tensor(given, self.step, 0, -128, 127, torch.int8)
        weight = ops.dequantize_per_channel(self.weight, self.scale, self.zeros, 0, -127, 127, torch.int8)
        told: Tensor = self.convolve(given, weight, self.bias, self.stride, self.padding)
        return told


def quantised(network: nn.Module, example: Tensor) -> nn.Module:
    """The network with each convolution in int8, calibrated on an example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch.ao.quantization.fx._decomposed
    seen: dict[str, Tensor] = {}
    hooks = [
        part.register_forward_pre_hook(lambda _part, given, name=name: seen.update({name: given[0].detach()}))
        for name, part in network.named_modules()
        if isinstance(part, nn.Conv3d | nn.Conv2d)
    ]
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    for name, given in seen.items():
        parent, _, own = name.rpartition(".")
        holder = network.get_submodule(parent)
        setattr(holder, own, QuantisedConvolution(network.get_submodule(name), given.clone()))  # type: ignore[arg-type]
    return network.eval()


def pruned(network: nn.Module, share: float) -> nn.Module:
    """So many of the smallest weights of each convolution are zero, for good."""
    for part in network.modules():
        if isinstance(part, nn.Conv3d | nn.Conv2d | nn.Linear):
            prune.l1_unstructured(part, "weight", amount=share)
            prune.remove(part, "weight")
    return network


def pruned_two_of_four(network: nn.Module) -> nn.Module:
    """Of each four weights that follow one another the two smaller are zero, for good: semi-structured (2:4)."""
    for part in network.modules():
        if isinstance(part, nn.Conv3d | nn.Conv2d | nn.Linear) and part.weight.numel() % 4 == 0:
            larger = part.weight.detach().reshape(-1, 4).abs().argsort(dim=1)[:, 2:]
            mask = torch.zeros(part.weight.numel() // 4, 4).scatter_(1, larger, 1.0).view_as(part.weight)
            prune.custom_from_mask(part, "weight", mask)
            prune.remove(part, "weight")
    return network


@contextmanager
def older_ways() -> Iterator[None]:
    """Torch warns of ways to write a network that it means to give up; hospitals have networks that were written so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def traced(network: nn.Module, *example: Tensor) -> bytes:
    content = BytesIO()
    with older_ways():
        torch.jit.save(torch.jit.trace(network.eval(), example), content)
    return content.getvalue()


def exported(network: nn.Module, example: Tensor, dynamic: Mapping[int, Any] | None = None) -> bytes:
    with older_ways():
        return torch_export(network, example, dynamic or {})


def exported_denoiser(network: nn.Module, image: Tensor) -> bytes:
    content, any_size = BytesIO(), torch.export.Dim.AUTO
    example = (image, torch.zeros(len(image), dtype=torch.int64))
    with older_ways():
        program = torch.export.export(network.eval(), example, dynamic_shapes=({0: any_size}, {0: any_size}))
    torch.export.save(program, content)
    return content.getvalue()


def onnx_of(network: nn.Module, *example: Tensor) -> bytes:
    """For any batch."""
    content, names = BytesIO(), ["image", "timestep"][: len(example)]
    with older_ways():
        torch.onnx.export(
            network.eval(), example, content, dynamo=False, opset_version=17, input_names=names,
            dynamic_axes={name: {0: "batch"} for name in names},
        )  # fmt: skip
    return content.getvalue()


def by_torchao(network: nn.Module, images: Tensor) -> bytes:
    """Static int8 by torchao's PT2E way for x86; images are what it is calibrated on."""
    with older_ways():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
            X86InductorQuantizer,
            get_default_x86_inductor_quantization_config,
        )

        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(torch.export.export(network.eval(), (images,)).module(), quantizer)
        prepared(images)
        return torch_export(_Evaluated(convert_pt2e(prepared)), images, {})


class _Evaluated(nn.Module):
    """An exported program knows neither train nor eval."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def eval(self) -> _Evaluated:
        return self

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.program(image)
        return told


def by_onnxruntime(network: nn.Module, image: Tensor, folder: Path) -> bytes:
    """Static int8 by onnxruntime (QDQ); the image is what it is calibrated on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Once(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"image": image.numpy()}]

        def get_next(self) -> dict[str, Any] | None:
            return self.left.pop() if self.left else None

    plain, small = folder / "plain.onnx", folder / "int8.onnx"
    plain.write_bytes(onnx_of(network, image))
    convolutions = ["Conv", "ConvTranspose"]
    quantize_static(plain, small, Once(), quant_format=QuantFormat.QDQ, op_types_to_quantize=convolutions)
    return small.read_bytes()
