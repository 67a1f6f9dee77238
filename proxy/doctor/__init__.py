"""Doctor: the whole set-up examined, in plain words: what is well, what is wrong, what to do."""
