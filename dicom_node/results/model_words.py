"""The model card in sentences, as reports, pages and pictures have it: what it is for, and all of it."""

from __future__ import annotations

from inference.findings import ModelIdentity

_QUALIFICATIONS = {
    "research": "Qualification: research; its package states no approval as a medical device.",
    "product": "Qualification: product, as its manufacturer states.",
}


def purpose(model: ModelIdentity) -> list[str]:
    """What it is for, and for whom."""
    return [f"Intended use: {model.intended_use}", *_population(model)]


def use_and_limits(model: ModelIdentity) -> list[str]:
    """What it is for, and what a reader must know before trusting it."""
    return [f"Intended use: {model.intended_use}", *(f"Limit: {limit}" for limit in model.limits)]


def evidence(model: ModelIdentity) -> list[str]:
    """For whom it was made, how well it does, what it was made from, and whether it is stated to be approved."""
    card = model.card
    words = [*_population(model), *(f"Metric: {metric}" for metric in card.metrics)]
    words += [f"Training data: {card.training_data}"] if card.training_data else []
    return [*words, _QUALIFICATIONS[card.qualification]]


def in_full(model: ModelIdentity) -> list[str]:
    """All of it."""
    return [*use_and_limits(model), *evidence(model)]


def _population(model: ModelIdentity) -> list[str]:
    return [f"Population: {model.card.population}"] if model.card.population else []
