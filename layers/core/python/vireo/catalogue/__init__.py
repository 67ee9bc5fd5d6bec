"""Videos: what is known of them, how they are stored, and how changes reach those who serve."""
