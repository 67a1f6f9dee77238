"""Admin: the operator's pages, made on the server: what flows, what is stuck and why."""
