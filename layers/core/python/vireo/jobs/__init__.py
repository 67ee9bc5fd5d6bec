"""What state machines share: run documents, steps, what a step leaves, and progress."""
