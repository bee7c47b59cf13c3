"""Pretraining: objectives as functions, and one readable loop."""
