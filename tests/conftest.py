"""For all tests: one thread each, as the machines that run them are small."""

import torch

torch.set_num_threads(1)
