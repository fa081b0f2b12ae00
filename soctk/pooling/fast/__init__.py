"""Optional kernels for CPUs, compiled by numba: the logarithm of small covariances and its gradient."""
