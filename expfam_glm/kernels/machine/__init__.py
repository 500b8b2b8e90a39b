"""Sums over rows in machine code, for processors with vectors of 512 bits.

NumPy needs some forty calls for the rows of a block, each over all of its memory, and two threads
wait for one another between them; and its BLAS takes kernels for half as wide vectors on many of
these processors. Here the text of the NumPy function of a row becomes a loop over eight rows at a
time, with their linear predictors before it and their score and information after it, while they
are in the nearest cache. Everywhere else, and for functions that are not elementary, NumPy does the
same.
"""
