"""Sandbox: stand-ins for other people's servers, which refuse what the real ones refuse."""
