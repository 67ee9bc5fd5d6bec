"""The home on a laptop: everything in one folder, without any service to set up."""

from vireo.homes.local.home import LocalHome, home

__all__ = ["LocalHome", "home"]
