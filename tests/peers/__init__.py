"""The others on the network: what a test lets the screener talk to."""
