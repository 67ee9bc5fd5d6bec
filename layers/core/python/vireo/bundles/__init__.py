"""Bundles: immutable, checksummed folders that are published whole and switched by one pointer."""
