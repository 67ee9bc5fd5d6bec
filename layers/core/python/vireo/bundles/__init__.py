"""Bundles: immutable, checksummed folders, published whole and activated by one pointer."""
