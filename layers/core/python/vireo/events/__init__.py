"""Viewers' events: intake, processing of the stream, and collection in files."""
