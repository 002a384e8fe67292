"""The daemon of the parotid screener: everything but the accelerator."""
