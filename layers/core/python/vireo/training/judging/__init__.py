"""Whether a model may serve: figures beside baselines, intervals, gates, and reports."""
