"""Channels as tokens: canonical frame, angle-delay-time frames, patches, masks; each invertible or counted exactly."""
