"""Networks only: they know no data set, no loss and no noise schedule."""
