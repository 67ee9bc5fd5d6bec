"""The catalogue of videos: metadata, storage, and the propagation of changes."""
