"""Bench: how fast we take events, beside others, in one run on one machine."""
