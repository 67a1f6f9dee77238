"""Carts: what the shop says the shopper is about to buy, and the sources that may say it."""
