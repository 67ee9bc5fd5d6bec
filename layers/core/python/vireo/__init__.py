"""Vireo: what should this viewer watch next, and what makes things like this succeed."""
