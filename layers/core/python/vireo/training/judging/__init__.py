"""Judgement of a model: metrics beside baselines, confidence intervals, gates, and reports."""
