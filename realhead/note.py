"""What every export says of itself, where its format has room for it."""

SYNTHETIC = "synthetic media (realhead)"
