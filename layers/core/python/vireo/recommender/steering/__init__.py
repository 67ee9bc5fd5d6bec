"""Steering: tuning, experiments, campaigns and switches that change without a deployment."""
