"""Packing: which element lies in which slot, and the kernels written on that."""
