"""What all tests share."""

import os

# threads of one process that wait for each other stand still beside another busy program
os.environ.setdefault("OMP_NUM_THREADS", "1")
