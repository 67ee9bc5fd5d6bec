"""The common parts of all state machines: run documents, steps, artifacts and progress."""
