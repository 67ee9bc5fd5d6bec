"""The home on a laptop: everything in one folder, nothing but the folder to set up."""

from vireo.homes.local.home import LocalHome, home

__all__ = ["LocalHome", "home"]
