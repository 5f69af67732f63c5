"""exp and log on the vectors of simd.py, branch-free."""

from __future__ import annotations

import math

import numpy as np

from recon.kernels.jit import helper
from recon.kernels.simd import float_bits, from_bits, to_float

LOG2E = 1 / math.log(2)
_LN2 = math.log(2)
_ROUND32 = np.float32(1.5 * 2**23)  # adding it leaves the nearest integer in the low mantissa bits
_ROUND64 = 1.5 * 2.0**52
# 2^f on [-1/2, 1/2]: minimax fit whose coefficients were rounded to float32 one by one, the rest fitted again; error 3e-6
_C1, _C2 = np.float32(0.6931241750717163), np.float32(0.24024096131324768)
_C3, _C4 = np.float32(0.0559065118432045), np.float32(0.00958296936005354)
_T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9, _T10 = (1 / math.factorial(k) for k in range(2, 11))


@helper
def exp2(x):
    """F32: 2^x for -126 < x < 127, to 3e-6; outside it the lanes hold rubbish, and the caller drops them."""
    t = x + _ROUND32
    f = x - (t - _ROUND32)
    p = np.float32(1) + f * (_C1 + f * (_C2 + f * (_C3 + f * _C4)))
    return from_bits(float_bits(p) + (float_bits(t) << 23))


@helper
def exp(x):
    """F64: e^x for |x| < 700, to 1e-12 (Taylor, after e^x = 2^n e^r)."""
    t = x * LOG2E + _ROUND64
    r = x - (t - _ROUND64) * _LN2
    p = 1.0 + r * (
        1.0 + r * (_T2 + r * (_T3 + r * (_T4 + r * (_T5 + r * (_T6 + r * (_T7 + r * (_T8 + r * (_T9 + r * _T10))))))))
    )
    return from_bits(float_bits(p) + (float_bits(t) << 52))


@helper
def log2(x):
    """F64: log2 of normal x > 0, to 1e-12: x = 2^e m, m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m +
    1)).
    """
    # subtracting the bits of sqrt(1/2) puts the carry where the exponent changes
    shifted = float_bits(x) - 0x3FE6A09E667F3BCD
    e = shifted >> 52
    m = from_bits(float_bits(x) - (e << 52))
    t = (m - 1.0) / (m + 1.0)
    s = t * t
    series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13 + s / 15))))))
    return to_float(e) + (2 * LOG2E) * t * series
