"""Networks, their weights and the bundles that ship."""
