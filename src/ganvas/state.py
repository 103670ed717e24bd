"""Everything that a step reads and changes."""

import copy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ganvas import tasks
from ganvas.config import Config
from ganvas.diffaug import Controller
from ganvas.health import Health


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
        self.controller = Controller(config.augment.strength, span=1000 * config.augment.kimg)
        self.health = Health(config.objective.loss)

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

    def copied(self) -> dict[str, Tensor]:
        """Return copies of all tensors, to return to."""
        return {name: value.detach().clone() for name, value in self.tensors().items()}

    def return_to(self, tensors: dict[str, Tensor]) -> None:
        """Roll back to what `copied` returned; what is counted goes on."""
        self.restore(tensors)
        self.skipped_in_a_row = 0

    def numbers(self) -> dict[str, Any]:
        """Return all that is no tensor, as plain as JSON."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "controller": asdict(self.controller),
            "health": self.health.as_dict(),
        }

    def recall(self, numbers: dict[str, Any]) -> None:
        """Take over what `numbers` returned."""
        self.step, self.skipped = numbers["step"], numbers["skipped"]
        self.skipped_in_a_row = numbers["skipped_in_a_row"]
        self.controller = Controller(**numbers["controller"])
        self.health = Health.from_dict(numbers["health"])

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
                    moments.pop(key, None)
                    if saved is not None:  # in the parameter's memory order, for bit-identical arithmetic
                        kept = saved.clone() if key == "step" else torch.empty_like(parameter).copy_(saved)
                        moments[key] = kept.to(self.device)
