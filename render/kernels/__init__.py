"""Splatting on the CPU: kernels compiled by Numba, and the slow readable twins in torch (reference.py) that they are
tested against.
"""
