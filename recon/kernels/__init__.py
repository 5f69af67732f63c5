"""What kernels are written with: how Numba compiles and runs them, and vectors of 16 numbers."""
