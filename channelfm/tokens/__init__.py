"""Channels as tokens: canonical frame, patches and masks, each invertible or counted exactly."""
