"""Vireo: what should this viewer watch next, and what makes things like this succeed."""

#: The one place: pyproject.toml and the OpenAPI document take it from here, and the changelog's
#: newest section is named by it.
__version__ = "0.2.0"
