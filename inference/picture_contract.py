"""What a model that looks at images one by one accepts of each, and how many of the frames of a clip it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Images = Literal["volume", "each", "clip"]
"""volume: one space of voxels. each: every image, every frame by itself. clip: the frames of an instance together."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the header of one instance says."""

    photometric_interpretation: str
    samples_per_pixel: int
    view: str
    frames: int
    frames_per_s: float | None = None


class PictureContract(BaseModel):
    """color: what the network is shown: grey (of colours their luminance), or rgb (grey in all three channels).

    A picture that is not as the lists say is set aside; a list that is left out does not bind. views: View Position, or the
    meaning of the view's code. every_frame: 1 is each frame, 5 every fifth; frames_per_s: as many as come nearest to it, of a
    clip that states its frame time. most_frames: of an instance, taken evenly where there are more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    color: Literal["grey", "rgb"] = "grey"
    photometric_interpretations: tuple[str, ...] = ()
    samples_per_pixel: Literal[1, 3] | None = None
    views: tuple[str, ...] = ()
    every_frame: int = Field(default=1, ge=1, le=1000)
    frames_per_s: float | None = Field(default=None, gt=0, le=1000)
    most_frames: int | None = Field(default=None, ge=1, le=10_000)

    def reason_against(self, facts: PictureFacts) -> str:
        """The rule that the instance breaks, with the value that broke it; empty where there is none."""
        photometric, allowed = facts.photometric_interpretation, self.photometric_interpretations
        if allowed and photometric not in allowed:
            return f"photometric interpretation {photometric or 'not stated'} is not {' or '.join(allowed)}"
        if self.samples_per_pixel and facts.samples_per_pixel != self.samples_per_pixel:
            return f"{facts.samples_per_pixel} samples a pixel, and the model reads {self.samples_per_pixel}"
        if self.views and facts.view.upper() not in {view.upper() for view in self.views}:
            return f"view {facts.view or 'not stated'} is not {' or '.join(self.views)}"
        return ""

    def frames_shown(self, facts: PictureFacts) -> tuple[int, ...]:
        """Which frames of an instance, counted from 0."""
        step = self.every_frame
        if self.frames_per_s and facts.frames_per_s:
            step = max(step, round(facts.frames_per_s / self.frames_per_s))
        shown = range(0, facts.frames, step)
        if self.most_frames and len(shown) > self.most_frames:
            most = self.most_frames
            return tuple(shown[(2 * index + 1) * len(shown) // (2 * most)] for index in range(most))
        return tuple(shown)
