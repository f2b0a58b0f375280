"""Checking data before anything is trained on it: what was found, which convention is broken, and how to mend it."""
