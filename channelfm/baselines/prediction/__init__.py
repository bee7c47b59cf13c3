"""Classical predictors of channel sequences."""
