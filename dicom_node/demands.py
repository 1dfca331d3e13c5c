"""What each configured destination takes, by its profile."""

from __future__ import annotations

from dicom_node.config import Config
from dicom_node.config_destinations import DicomDestination, FolderDestination
from dicom_node.profiles import NEXT_BEST, PROFILES, Demand, Profile, demand


def demands_of(config: Config) -> dict[str, Demand]:
    """By the name of the destination."""
    return {destination.name: demand_of(config, destination) for destination in config.destinations}


def demand_of(config: Config, destination: DicomDestination | FolderDestination) -> Demand:
    """A folder takes whatever is written to it."""
    own = {one.name: Profile(one.results, {**NEXT_BEST, **one.next_best}) for one in config.profiles}
    profile = {**PROFILES, **own}[destination.profile]
    return demand(profile, destination.results, may_refuse=isinstance(destination, DicomDestination))
