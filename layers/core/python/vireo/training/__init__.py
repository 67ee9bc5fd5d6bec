"""From collected events to a published bundle: the steps of the training state machine."""
