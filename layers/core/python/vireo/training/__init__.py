"""Training: from collected events to a published bundle, by the steps of a state machine."""
