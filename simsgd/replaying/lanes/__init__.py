"""Lanes: many runs side by side in one executable of fixed width, each with numbers, a seed and a tape of its own.

Laws of this package:

1. A lane's bits depend on its own run, on the width and on nothing else: not on its neighbours, nor on its place, nor on when
   it begins. (A `vmap` of one fixed width is exact in this sense; two widths are two executables.)
2. All lanes play as many blocks in a call. A lane whose run has ended is given the next run; one without a run plays blocks of
   zeros, whose results nobody reads.
3. Models to be evaluated are kept in slots as they pass, so no lane waits for another's evaluation.
"""
