"""A training in several processes of this machine, begun and watched by PyTorch's elastic launcher, as by torchrun."""

import logging
import os
import sys

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ganvas.errors import UserError


def launch(words: list[str], processes: int, restarts: int) -> None:
    """Run `ganvas` with these words in several processes, until all have ended.

    Ctrl-C and a polite kill are passed on. Where a process dies the others end, and all begin anew.

    Args:
        words: after `ganvas`.
        processes: how many.
        restarts: how often they begin anew at most.

    Raises:
        UserError: one ended with an error, or died, once too often.
        KeyboardInterrupt: they were stopped.
    """
    for part in ("agent.server.api", "multiprocessing.api"):
        logging.getLogger(f"torch.distributed.elastic.{part}").setLevel(logging.CRITICAL)
    # Else processes that begin anew find the addresses of those before (pytorch/pytorch, issue 135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="ganvas",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=restarts,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "ganvas", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"was killed ({failure.signal_name()})" if failure.exitcode < 0 else "ended with an error"
        saved = "what was saved stays, and the same command goes on; --max-restarts 3 would do so by itself"
        raise UserError(f"process {rank} of {processes} {how}; {saved}") from error
    except SignalException as error:
        raise KeyboardInterrupt from error
