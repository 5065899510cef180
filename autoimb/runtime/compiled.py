"""Compiles what trains networks, as soon as it is imported.

The server that workers are forked from imports it while the program reads and plans the table; the
workers then have the code without a moment of their own.
"""

from autoimb.nn.compiled.run import compile_all

compile_all()
