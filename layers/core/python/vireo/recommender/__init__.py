"""Recommendations for a viewer: one request passes through four stages."""
