"""Lung densitometry on chest CT, without learned weights: the model that every install has."""
