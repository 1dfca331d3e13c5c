"""What a model accepts as input, and why a series is not that: asked of header facts before any pixel is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from inference.picture_contract import Images, PictureContract


def _is_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    return value


Pattern = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_is_pattern)]

Orientation = Literal["axial", "sagittal", "coronal", "oblique"]

NO_AGENT = frozenset({"", "NO", "NONE", "N", "NA", "N/A", "NO CONTRAST", "WITHOUT", "WITHOUT CONTRAST", "0", "-", "--"})
"""What scanners write into Contrast/Bolus Agent (0018,0010) where there was none."""

# A plane within this angle of an anatomical one is called by its name.
PLANE_TOLERANCE_DEG = 25.0
PLANE_BY_NORMAL_AXIS: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the headers of one series say. None or empty: they do not say it.

    instances counts frames of a multi-frame instance one by one. image_orientation: the six direction cosines (LPS+).
    contrast_agent: empty where the headers have a place for it and name none.
    pixel_spacing_mm: between rows, and between columns. coverage_mm: from the first slice to the last, one slice spacing
    included.
    """

    modality: str = ""
    instances: int = 0
    sop_class_uids: frozenset[str] = frozenset()
    image_type: tuple[str, ...] = ()
    image_orientation: tuple[float, ...] | None = None
    slice_spacing_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    coverage_mm: float | None = None
    gantry_tilt_deg: float | None = None
    rows: int | None = None
    columns: int | None = None
    body_part: str = ""
    series_description: str = ""
    manufacturer: str = ""
    convolution_kernel: str = ""
    contrast_agent: str | None = None

    @property
    def has_contrast(self) -> bool | None:
        """Whether a contrast agent is named: its module is required where one was used (PS3.3 C.7.6.4)."""
        return None if self.contrast_agent is None else self.contrast_agent.strip().upper() not in NO_AGENT

    @property
    def orientation(self) -> Orientation | None:
        """The anatomical plane of the images, from the normal of their direction cosines."""
        cosines = self.image_orientation
        return None if cosines is None or len(cosines) != 6 else plane_of(cosines)


def plane_of(cosines: tuple[float, ...]) -> Orientation:
    """Name the plane that Image Orientation (Patient) spans (PS3.3 C.7.6.2.1.1)."""
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    length = float(np.linalg.norm(normal))
    if length == 0.0:
        return "oblique"
    axis = int(np.argmax(normal))
    angle_deg = float(np.degrees(np.arccos(min(float(normal[axis]) / length, 1.0))))
    return PLANE_BY_NORMAL_AXIS[axis] if angle_deg <= PLANE_TOLERANCE_DEG else "oblique"


class SeriesContract(BaseModel):
    """What a series must be. A bound that is left out does not bind.

    image_type_requires, image_type_excludes: values of Image Type that must, and must not, be there; body_parts: of Body Part
    Examined. description, convolution_kernels: regular expressions without regard to case; the one is found anywhere in
    Series Description, of the others one must match all of Convolution Kernel, and none of convolution_kernel_excludes may.
    contrast: whether Contrast/Bolus Agent must name an agent, or must not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    modality: str = Field(min_length=2, max_length=16)
    sop_class_uids: tuple[str, ...] = ()
    orientation: Literal["axial", "sagittal", "coronal", "any"] = "any"
    min_instances: int = Field(default=1, ge=1)
    min_slice_spacing_mm: float | None = Field(default=None, gt=0)
    max_slice_spacing_mm: float | None = Field(default=None, gt=0)
    min_pixel_spacing_mm: float | None = Field(default=None, gt=0)
    max_pixel_spacing_mm: float | None = Field(default=None, gt=0)
    min_coverage_mm: float | None = Field(default=None, gt=0)
    image_type_requires: tuple[str, ...] = ()
    image_type_excludes: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    description: Pattern | None = None
    convolution_kernels: tuple[Pattern, ...] = Field(default=(), max_length=64)
    convolution_kernel_excludes: tuple[Pattern, ...] = Field(default=(), max_length=64)
    contrast: Literal["present", "absent", "any"] = "any"
    gantry_tilt: Literal["keep", "resample", "refuse"] = "refuse"

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> Self:
        for what in ("slice", "pixel"):
            low, high = (getattr(self, f"{end}_{what}_spacing_mm") for end in ("min", "max"))
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{what}_spacing_mm {low:g} is above max_{what}_spacing_mm {high:g}")
        return self

    def reasons_against(self, series: SeriesFacts) -> list[str]:
        """Every rule that the series breaks, with the value that broke it; empty where the model may run.

        A fact that the headers do not state breaks no rule here: it is judged again on the volume.
        """
        return [*self._reasons_of_kind(series), *self._reasons_of_geometry(series)]

    def _reasons_of_kind(self, series: SeriesFacts) -> list[str]:
        reasons = []
        if series.modality != self.modality:
            reasons.append(f"modality {series.modality or 'not stated'} is not {self.modality}")
        strangers = sorted(series.sop_class_uids - {"", *self.sop_class_uids})
        if self.sop_class_uids and strangers:
            reasons.append(f"SOP class {strangers[0]} is not among those the model reads")
        shunned = {value.upper() for value in self.image_type_excludes}
        reasons += [f"image type {value} is excluded" for value in series.image_type if value.upper() in shunned]
        types = {value.upper() for value in series.image_type}
        reasons += [
            f"image type has no {value}" for value in self.image_type_requires if types and value.upper() not in types
        ]
        allowed = {value.upper() for value in self.body_parts}
        if allowed and series.body_part and series.body_part.upper() not in allowed:
            reasons.append(f"body part {series.body_part} is not {' or '.join(self.body_parts)}")
        if self.description and not re.search(self.description, series.series_description, re.IGNORECASE):
            reasons.append(f"description {series.series_description or 'not stated'} does not have {self.description}")
        return [*reasons, *self._reasons_of_kernel(series.convolution_kernel), *self._reasons_of_contrast(series)]

    def _reasons_of_kernel(self, kernel: str) -> list[str]:
        if not kernel:
            return []
        shunned = next((one for one in self.convolution_kernel_excludes if _is_all_of(one, kernel)), None)
        if shunned is not None:
            return [f"convolution kernel {kernel} is excluded ({shunned})"]
        allowed = self.convolution_kernels
        if allowed and not any(_is_all_of(one, kernel) for one in allowed):
            return [f"convolution kernel {kernel} is not {' or '.join(allowed)}"]
        return []

    def _reasons_of_contrast(self, series: SeriesFacts) -> list[str]:
        if self.contrast == "present" and series.has_contrast is False:
            return ["no contrast agent is stated, and the model takes images with contrast only"]
        if self.contrast == "absent" and series.has_contrast:
            return [f"contrast agent {series.contrast_agent}, and the model takes images without contrast only"]
        return []

    def _reasons_of_geometry(self, series: SeriesFacts) -> list[str]:
        reasons = []
        if self.orientation != "any" and series.orientation not in {None, self.orientation}:
            reasons.append(f"orientation {series.orientation} is not {self.orientation}")
        if series.instances < self.min_instances:
            reasons.append(f"{series.instances} images < {self.min_instances}")
        spacing, low, high = series.slice_spacing_mm, self.min_slice_spacing_mm, self.max_slice_spacing_mm
        if spacing is not None and high is not None and spacing > high + 1e-3:
            reasons.append(f"slice spacing {spacing:.1f} mm > {high:.1f} mm")
        if spacing is not None and low is not None and spacing < low - 1e-3:
            reasons.append(f"slice spacing {spacing:.2f} mm < {low:.2f} mm")
        reasons += self._reasons_of_pixels(series)
        coverage, least = series.coverage_mm, self.min_coverage_mm
        if coverage is not None and least is not None and coverage < least - 1e-3:
            reasons.append(f"images cover {coverage:.0f} mm < {least:.0f} mm")
        if self.gantry_tilt == "refuse" and abs(series.gantry_tilt_deg or 0.0) > 0.5:
            reasons.append(f"gantry tilt {series.gantry_tilt_deg:.1f} degrees, and the model takes none")
        return reasons

    def _reasons_of_pixels(self, series: SeriesFacts) -> list[str]:
        spacing, low, high = series.pixel_spacing_mm, self.min_pixel_spacing_mm, self.max_pixel_spacing_mm
        if spacing is not None and high is not None and max(spacing) > high + 1e-3:
            return [f"pixel spacing {max(spacing):.2f} mm > {high:.2f} mm"]
        if spacing is not None and low is not None and min(spacing) < low - 1e-3:
            return [f"pixel spacing {min(spacing):.3f} mm < {low:.3f} mm"]
        return []


def _is_all_of(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.IGNORECASE) is not None


class CompanionContract(BaseModel):
    """Another series that the model reads beside the one it runs on.

    scope `study`: of the same study, such as another phase; `prior`: of the latest earlier study of the patient that has a
    series as `series` says, at most `max_age_days` older. Where it is required, a job waits for it, at most `wait_s`, and is
    then reported as not analysed; where it is not, the job takes what is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)
    scope: Literal["study", "prior"]
    required: bool = True
    max_age_days: int | None = Field(default=None, ge=1)
    wait_s: float = Field(default=1800.0, ge=0, le=7 * 86400)
    series: SeriesContract

    @model_validator(mode="after")
    def age_is_that_of_a_prior(self) -> Self:
        if self.max_age_days is not None and self.scope != "prior":
            raise ValueError("max_age_days is for scope prior: series of one study have one age")
        return self


class InputContract(SeriesContract):
    """The series that a model may be run on, and the others that it reads besides.

    images: what of a series is analysed at once; pictures: of `each` and `clip`, what each image must be.
    """

    images: Images = "volume"
    pictures: PictureContract = PictureContract()
    companions: tuple[CompanionContract, ...] = Field(default=(), max_length=8)

    def companion(self, name: str) -> CompanionContract:
        """Raises KeyError where the contract names none so."""
        return {item.name: item for item in self.companions}[name]

    @model_validator(mode="after")
    def companions_have_names_of_their_own(self) -> Self:
        names = [item.name for item in self.companions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"companion {twice[0]} is given twice")
        return self

    def reason_against_spacing(self, spacing_mm: tuple[float, float] | None) -> str:
        """Of one picture: where a bound is given, its spacing must be stated."""
        bounds = self.min_pixel_spacing_mm, self.max_pixel_spacing_mm
        if spacing_mm is None:
            return "it does not say how large its pixels are" if any(bounds) else ""
        return "; ".join(self._reasons_of_pixels(SeriesFacts(pixel_spacing_mm=spacing_mm)))

    @model_validator(mode="after")
    def pictures_have_no_space(self) -> Self:
        if self.images == "volume":
            if self.pictures != PictureContract():
                raise ValueError("pictures is for images each or clip; those of a volume are taken together")
            return self
        spatial = ("min_slice_spacing_mm", "max_slice_spacing_mm", "min_coverage_mm")
        if given := [name for name in spatial if getattr(self, name) is not None] + list(self.companions)[:1]:
            what = given[0] if isinstance(given[0], str) else "companions"
            raise ValueError(f"{what} is for images volume; {self.images} takes images that lie in no common space")
        return self
