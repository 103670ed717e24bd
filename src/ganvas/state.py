"""Everything that a step reads and changes."""

import copy

import torch
from torch import Tensor

from ganvas import tasks
from ganvas.config import Config


class State:
    """Networks, their average, optimisers, and how far they are."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.task = tasks.find_task(config.task)(config)
        for networks in self.task.networks.values():
            networks.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.task.networks["generator"]).requires_grad_(False).eval()
        adam = config.optimiser
        self.optimisers = {
            player: torch.optim.Adam(
                networks.parameters(), adam.lr, (adam.beta1, adam.beta2), adam.eps, fused=device.type != "mps"
            )
            for player, networks in self.task.networks.items()
        }
        self.step = 0
        self.skipped = 0
        self.skipped_in_a_row = 0

    @property
    def images(self) -> int:
        """Real images seen."""
        return self.step * self.config.batch

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name: `average.…`, `generator.…`, `discriminator.…`, and `adam.<moment>.<player>.…`."""
        tensors = {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for player, networks in self.task.networks.items():
            tensors |= {f"{player}.{name}": value for name, value in networks.state_dict().items()}
            for name, parameter in networks.named_parameters():
                moments = self.optimisers[player].state.get(parameter, {})
                tensors |= {f"adam.{key}.{player}.{name}": value for key, value in moments.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` returned."""
        parts: dict[str, dict[str, Tensor]] = {"adam": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        self.average.load_state_dict(parts["average"])
        for player, networks in self.task.networks.items():
            networks.load_state_dict(parts[player])
            for name, parameter in networks.named_parameters():
                moments = self.optimisers[player].state[parameter]
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    saved = parts["adam"].get(f"{key}.{player}.{name}")
                    if saved is not None:  # in the parameter's memory order, for bit-identical arithmetic
                        kept = saved.clone() if key == "step" else torch.empty_like(parameter).copy_(saved)
                        moments[key] = kept.to(self.device)
