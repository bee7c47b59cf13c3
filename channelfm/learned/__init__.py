"""Networks as estimators: recipes, domains, heads, adaptation."""
