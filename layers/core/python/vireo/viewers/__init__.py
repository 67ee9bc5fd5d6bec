"""Viewers: who they are, what they did lately, and the one function by which events change it."""
