"""The networks of the five beginners' articles: the layers as printed, plus only the repairs that each names.

They were written for Keras, so Keras's defaults hold where nothing is said: "same" padding, Glorot-uniform
weights, zero biases, LeakyReLU 0.3, batch norm epsilon 1e-3, and rows, columns, channels as the order in
which a dense layer reads and writes a picture. Weights copied over from Keras give equal outputs. The idea
is Goodfellow et al. 2014 (Generative Adversarial Nets), equation 1; the sigmoid that the articles end a
discriminator in belongs to the loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UserError
from ganvas.models.layers import OfClass


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Settings of the articles' discriminators.

    Raises:
        UserError: a size other than 28x28.
    """

    channels: int
    """1 grey, 3 colour."""
    width: int = 28
    """28; there is no other size."""
    height: int = 28
    """28; there is no other size."""
    classes: int = 0
    """Of which the network is told; 0 for none. The articles have none; with them it is Mirza and Osindero's (2014,
    Conditional generative adversarial nets): planes beside the picture, an embedding beside the noise."""

    def __post_init__(self) -> None:
        if (self.width, self.height) != (28, 28):
            size = f"{self.width}x{self.height}"
            raise UserError(f"the articles' networks know pictures of 28x28, not of {size}; say --size 28")
        if not 0 <= self.classes <= 2**16:
            raise UserError("classes is at least 0 and at most 65536")

    @property
    def inputs(self) -> int:
        """Channels that a discriminator sees: the picture's, and a plane for each class."""
        return self.channels + self.classes


@dataclass(frozen=True)
class GeneratorConfig(DiscriminatorConfig):
    """Settings of the articles' generators."""

    z_dim: int = 100
    """Numbers in the noise vector, each standard normal."""

    @property
    def inputs(self) -> int:
        """Numbers that a generator starts from: the noise, and as many for the class."""
        return 2 * self.z_dim if self.classes else self.z_dim


# ------------------------------------------------------------------------------------------ Keras's layers


def same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Return Keras's "same" padding (left, right, top, bottom) for sides that the stride divides.

    It is lopsided where kernel - stride is odd: the larger half is on the right and below.
    """
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return before, after, before, after


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return Keras's `Conv2D("same")`: [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
    before, after, *_ = padding = same_padding(kernel, stride)
    if before == after:
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, before))
    return nn.Sequential(nn.ZeroPad2d(padding), nn.Conv2d(inputs, outputs, kernel, stride))


def transposed_conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return Keras's `Conv2DTranspose("same")`: [N, inputs, H, W] to [N, outputs, stride · H, stride · W].

    It cuts off what `conv` pads on; torch's own `padding` can only cut both sides alike.
    """
    left, right, top, bottom = same_padding(kernel, stride)
    crop = nn.ZeroPad2d((-left, -right, -top, -bottom))
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, kernel, stride), crop)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return Keras's `BatchNormalization(momentum=0.8)`.

    Torch's momentum is the share of the new batch, 1 - 0.8. Its running variance is the unbiased one, Keras's
    the biased one: a factor of n / (n - 1) for n = N · H · W, at most 1.0002 for batch 128, and left so.
    """
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.2)


class Reshape(nn.Module):
    """[N, 7 · 7 · channels], rows, columns and channels as in Keras, to [N, channels, 7, 7]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Reshape."""
        return x.reshape(len(x), 7, 7, self.channels).permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """[N, C, H, W] to [N, H · W · C], rows, columns and channels as in Keras."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten."""
        return x.permute(0, 2, 3, 1).flatten(1)


def glorot(layers: nn.Sequential) -> nn.Sequential:
    """Start the layers as Keras does: weights by Glorot and Bengio 2010, equation 16, and zero biases."""
    for layer in layers.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return layers


# ------------------------------------------------------------------------------------------ what all share


class ArticleGenerator(nn.Module):
    """An article's generator: its layers, one after the other."""

    def __init__(self, config: GeneratorConfig, *layers: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.layers = glorot(nn.Sequential(*layers))
        self.of_class = OfClass(config.classes, config.z_dim) if config.classes else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Make pictures [N, C, 28, 28] in [-1, 1] of noise [N, z_dim], and labels [N] or class weights [N, classes]."""
        if self.of_class is not None:
            z = torch.cat([z, self.of_class(label)], 1)
        images: Tensor = self.layers(z)
        return images


class ArticleDiscriminator(nn.Module):
    """An article's discriminator: its layers, one after the other."""

    def __init__(self, config: DiscriminatorConfig, *layers: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.layers = glorot(nn.Sequential(*layers))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Judge pictures [N, C, 28, 28] in [-1, 1], of labels [N], with logits [N], above 0 for real."""
        if self.config.classes and label is not None:
            planes = F.one_hot(label, self.config.classes).to(x.dtype)[:, :, None, None]
            x = torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], 1)
        logits: Tensor = self.layers(x)
        return logits.squeeze(1)


# ------------------------------------------------------------------------------------------ article 1


class DenseGenerator(ArticleGenerator):
    """Article 1. Repair: upsampling by 4, for its pictures were 7x7. Ends in a sigmoid, mapped to [-1, 1]."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(
            config,
            nn.Linear(config.inputs, 7 * 7 * 128),
            nn.ReLU(),
            Reshape(128),
            nn.Upsample(scale_factor=4),
            conv(128, config.channels, 5),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Make pictures [N, C, 28, 28] in [-1, 1] of noise [N, z_dim] and labels."""
        return 2 * super().forward(z, label) - 1


class DenseDiscriminator(ArticleDiscriminator):
    """Article 1. As printed; it sees pictures mapped back to 0..1."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(
            config,
            conv(config.inputs, 64, 5),
            nn.ReLU(),
            Flatten(),
            nn.Linear(28 * 28 * 64, 1),
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Judge pictures [N, C, 28, 28] in [-1, 1], of labels [N], with logits [N], above 0 for real."""
        return super().forward((x + 1) / 2, label)


# ------------------------------------------------------------------------------------------ article 2


class TransposeGenerator(ArticleGenerator):
    """Article 2. Repairs: LeakyReLU after hidden layers, and the last convolution transposed, stride 2."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(
            config,
            nn.Linear(config.inputs, 7 * 7 * 256, bias=False),
            nn.LeakyReLU(0.3),
            Reshape(256),
            transposed_conv(256, 128, 5),
            nn.LeakyReLU(0.3),
            transposed_conv(128, 64, 5, stride=2),
            nn.LeakyReLU(0.3),
            transposed_conv(64, config.channels, 5, stride=2),
            nn.Tanh(),
        )


class TransposeDiscriminator(ArticleDiscriminator):
    """Article 2. Repair: the dense layer with one output."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(
            config,
            conv(config.inputs, 64, 5, stride=2),
            nn.LeakyReLU(0.3),
            conv(64, 128, 5, stride=2),
            nn.LeakyReLU(0.3),
            Flatten(),
            nn.Linear(7 * 7 * 128, 1),
        )


# ------------------------------------------------------------------------------------------ article 3


class UpsampleGenerator(ArticleGenerator):
    """Article 3. Repair: upsampling, convolution, ReLU and batch norm twice, for its pictures were 14x14."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(
            config,
            nn.Linear(config.inputs, 128 * 7 * 7),
            nn.LeakyReLU(0.2),
            Reshape(128),
            batch_norm(128),
            nn.Upsample(scale_factor=2),
            conv(128, 128, 3),
            nn.ReLU(),
            batch_norm(128),
            nn.Upsample(scale_factor=2),
            conv(128, 64, 3),
            nn.ReLU(),
            batch_norm(64),
            conv(64, config.channels, 3),
            nn.Tanh(),
        )


class UpsampleDiscriminator(ArticleDiscriminator):
    """Article 3. As printed."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(
            config,
            conv(config.inputs, 32, 3),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            conv(32, 64, 3),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            conv(64, 128, 3),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            Flatten(),
            nn.Linear(29 * 29 * 128, 1),
        )


# ------------------------------------------------------------------------------------------ article 4


class MnistGenerator(ArticleGenerator):
    """Article 4. Repair: upsampling before the second convolution too, for its pictures were 14x14."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(
            config,
            nn.Linear(config.inputs, 7 * 7 * 128),
            nn.ReLU(),
            Reshape(128),
            nn.Upsample(scale_factor=2),
            conv(128, 64, 5),
            batch_norm(64),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            conv(64, 32, 5),
            batch_norm(32),
            nn.ReLU(),
            conv(32, config.channels, 5),
            nn.Tanh(),
        )


class MnistDiscriminator(ArticleDiscriminator):
    """Article 4. As printed."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(
            config,
            conv(config.inputs, 32, 5),
            nn.LeakyReLU(0.2),
            conv(32, 64, 5),
            nn.LeakyReLU(0.2),
            conv(64, 128, 5),
            nn.LeakyReLU(0.2),
            Flatten(),
            nn.Linear(28 * 28 * 128, 1),
        )


# ------------------------------------------------------------------------------------------ article 5


class ColourGenerator(ArticleGenerator):
    """Article 5. Repairs: a dense layer that fits the reshape, and two transposed convolutions, not one."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(
            config,
            nn.Linear(config.inputs, 7 * 7 * 128),
            nn.LeakyReLU(0.2),
            Reshape(128),
            transposed_conv(128, 128, 4, stride=2),
            nn.LeakyReLU(0.2),
            transposed_conv(128, 128, 4, stride=2),
            nn.LeakyReLU(0.2),
            conv(128, config.channels, 4),
            nn.Tanh(),
        )


class ColourDiscriminator(ArticleDiscriminator):
    """Article 5. As printed."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(
            config,
            conv(config.inputs, 64, 4, stride=2),
            nn.LeakyReLU(0.2),
            conv(64, 128, 4, stride=2),
            nn.LeakyReLU(0.2),
            Flatten(),
            nn.Linear(7 * 7 * 128, 1),
        )
