"""The fast twins: what the plain pages of the core say, for millions at a time, compiled by numba.

Each kernel is held equal to its page by a property test and justified by a number in `bench/`. All are integer, release
the interpreter lock, and refuse what could pass 63 bits instead of wrapping. Compiled code is cached beside the source;
numba looks at the calling file only, so after changing `keccak` or `split` clear the `__pycache__` of this folder.
"""
