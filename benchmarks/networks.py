"""Networks that only benchmarks need, found by import path from benchmarks/."""

from dataclasses import dataclass

from torch import Tensor, nn

from ganvas.models.articles import ArticleDiscriminator, DiscriminatorConfig, Flatten, conv


class StridedDiscriminator(ArticleDiscriminator):
    """Article 4's with stride 2."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        last = nn.Conv2d(64, 128, 5, 2, padding=2)  # Keras's "same" is even for 7 to 4
        convs = (conv(config.channels, 32, 5, 2), conv(32, 64, 5, 2), last)
        layers = [layer for each in convs for layer in (each, nn.LeakyReLU(0.2))]
        super().__init__(config, *layers, Flatten(), nn.Linear(4 * 4 * 128, 1))


@dataclass(frozen=True)
class PointsConfig:
    """Settings of the networks for points in the plane."""

    z_dim: int = 8
    hidden: int = 128


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return three layers, [N, inputs] to [N, outputs]."""
    activation = nn.LeakyReLU(0.2)
    first, second, third = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)
    return nn.Sequential(first, activation, second, activation, third)


class PointsGenerator(nn.Module):
    """Noise to points, as pictures of one pixel and two channels."""

    def __init__(self, config: PointsConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = perceptron(config.z_dim, config.hidden, 2)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim] to [N, 2, 1, 1]."""
        return self.layers(z)[:, :, None, None]


class PointsDiscriminator(nn.Module):
    """Points to logits."""

    def __init__(self, config: PointsConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = perceptron(2, config.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 2, 1, 1] to [N]."""
        return self.layers(x.flatten(1)).squeeze(1)
