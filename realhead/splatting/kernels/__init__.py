"""Numba kernels of the CPU rasterizer; see `realhead.splatting.cpu` for how they play together."""
