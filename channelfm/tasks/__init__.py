"""Tasks: each is examples, a target and what a Predictor has to do."""
