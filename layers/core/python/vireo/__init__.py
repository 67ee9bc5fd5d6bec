"""Vireo recommends the next video to a viewer, and finds what makes videos like it succeed."""

#: The only place of the version: pyproject.toml and the OpenAPI document read it from here, and
#: the changelog's newest section is named after it.
__version__ = "0.2.0"
