"""Viewers: their profile, their recent activity, and the one function that applies events to it."""
