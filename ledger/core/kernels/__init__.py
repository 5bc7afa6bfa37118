"""Fast twins of plain modules, for millions of receipts at once, compiled by numba.

Reading order: jit, keccak, receipt_hashes, sum_tree, split, totals, warm. A property test holds each kernel equal to
its plain twin, and a number in `bench/` justifies it. Kernels use integers only, release the interpreter lock, and
refuse what could exceed 63 bits instead of wrapping. Compiled code is cached beside the source; numba watches the
calling file only, so delete this folder's `__pycache__` after a change of `jit`, `keccak` or `split`.
"""
