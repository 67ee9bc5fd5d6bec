"""What viewers do: taken in, followed, collected."""
