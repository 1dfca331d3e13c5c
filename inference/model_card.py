"""The part of model.yaml that is the model card: for whom the model was made, from what, and how well it does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from inference.findings import ModelCard
from inference.manifested import Label, Manifested

Sentence = Annotated[str, Field(min_length=1, max_length=1024)]


class Metric(Manifested):
    """How well the model did: one number, and on what. interval: that with 95 % confidence."""

    name: Label
    value: float
    unit: str = Field(default="", max_length=16)
    interval: tuple[float, float] | None = None
    data: str = Field(min_length=1, max_length=512)

    @model_validator(mode="after")
    def holds_the_value(self) -> Metric:
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            raise ValueError(f"interval must hold the value {self.value:g}, but is {list(self.interval)}")
        return self

    @property
    def words(self) -> str:
        """ "Dice 0.962 (0.951 to 0.97), on 120 chest CT"."""
        unit = f" {self.unit}" if self.unit else ""
        between = f" ({self.interval[0]:g} to {self.interval[1]:g}{unit})" if self.interval else ""
        return f"{self.name} {self.value:g}{unit}{between}, on {self.data}"


class Card(Manifested):
    """What a reader may want to know besides `intended_use` and `limits`; it stands in the reports.

    qualification: "product" only where the manufacturer states that the model is approved as a medical device; it is the
    Content Qualification (PS3.3 C.8.13.2.1.1.2) of what it makes.
    """

    population: Sentence | None = None
    training_data: Sentence | None = None
    metrics: tuple[Metric, ...] = Field(default=(), max_length=16)
    qualification: Literal["research", "product"] = "research"

    @property
    def card(self) -> ModelCard:
        metrics = tuple(metric.words for metric in self.metrics)
        return ModelCard(self.population or "", self.training_data or "", metrics, self.qualification)
