"""Data sets, synthetic masses, training and evaluation."""
