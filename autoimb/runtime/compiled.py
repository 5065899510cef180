"""Early compilation of the training steps, which importing this module starts.

The server from which workers are forked imports this module while the program reads the table and
plans the search; workers then inherit the compiled code.
"""

from __future__ import annotations

import torch

from autoimb.nn.code import training_code

__all__: list[str] = []

# A failed compilation warns here, and workers inherit the result.
training_code(torch.device("cpu"))
