"""Pictures to pictures: a generator, a discriminator of places, and what contrast and a history of fakes need.

After pix2pix (Isola et al. 2017), CycleGAN (Zhu et al. 2017) and CUT (Park et al. 2020), but without statistics over a
picture: features are normalised pixel by pixel, so that a picture may be translated in tiles, a discriminator's rows
do not depend on one another, and penalties have exact gradients. Sizes change by averages of 2x2 pixels and bilinearly,
never by strides alone, which alias (Zhang 2019, "Making convolutional networks shift-invariant again").
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.distributed import gathered, rank, world
from ganvas.errors import UserError
from ganvas.models.layers import ACTIVATED, SLOPE, Plain, activate, clamp, conv, fp32, initialised, normalise, resize


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Stages are listed from coarse to fine, as the generator's are."""

    channels: int
    width: int
    height: int
    source: int = 0
    """Channels of the picture that it judges under; 0 for none."""
    widths: tuple[int, ...] = (128, 128, 64, 32)
    """Feature channels of each stage, the last at full size."""
    scales: int = 4
    """Of the coarsest stages so many give logits, if there are so many. One of stage s, from 1 at full size on, sees
    squares of 7 · 2^(s - 1) - 2 pixels: large ones tell what is plausible, small ones what is clean."""

    def __post_init__(self) -> None:
        _check_widths(self.widths)
        _check("channels, width, height and scales", self.channels, self.width, self.height, self.scales)
        _check("source", self.source, least=0)


@dataclass(frozen=True)
class GeneratorConfig:
    """Width and height are those of the pictures that it learned from; it takes others too."""

    channels: int
    width: int
    height: int
    source: int
    """Channels of the picture that is translated."""
    widths: tuple[int, ...] = (128, 64, 32)
    """Feature channels of each scale, from coarse to fine, the last at full size."""
    blocks: int = 4
    """Residual blocks at the coarsest scale."""
    skips: bool = False
    """Connect scales on the way down with those on the way up (Isola et al. 2017, section 3.2.1)."""

    def __post_init__(self) -> None:
        _check_widths(self.widths)
        _check("channels, width and height", self.channels, self.width, self.height)
        _check("source and blocks", self.source, self.blocks)

    def tapped(self) -> tuple[int, ...]:
        """Return the channels of each map that `Generator.encode` gives."""
        return (self.source, *self.widths[::-1], *[self.widths[0]] * self.blocks)


@dataclass(frozen=True)
class ProjectorConfig:
    """Perceptrons for the maps that contrast is looked for in."""

    inputs: tuple[int, ...]
    """Channels of each map."""
    width: int = 128
    """Numbers that a place is projected to."""

    def __post_init__(self) -> None:
        _check("inputs, how many they are and width", len(self.inputs), self.width, *self.inputs)


@dataclass(frozen=True)
class PoolConfig:
    """A history of generated pictures."""

    channels: int
    width: int
    height: int
    size: int = 50
    """Pictures that are kept; 50 in Zhu et al. 2017, section 4."""

    def __post_init__(self) -> None:
        _check("channels, width, height and size", self.channels, self.width, self.height, self.size)


# A file's header may ask for anything, and what follows takes time in proportion, or more.
def _check(names: str, *values: int, least: int = 1) -> None:
    if min(values) < least or max(values) > 2**16:
        raise UserError(f"{names} are to be at least {least} and at most 65536")


def _check_widths(widths: tuple[int, ...]) -> None:
    if not 1 <= len(widths) <= 8:
        raise UserError("there are to be 1 to 8 widths, each a scale half as large as the next")
    _check("widths", *widths)


class Generator(nn.Module):
    """Down to the coarsest scale, through residual blocks, and up again; what comes out is added to the picture.

    The picture's own colours are passed on by a learned 1x1 convolution, at first as they are: an untrained generator
    is near the identity, or the picture's grey where the channels differ.
    """

    multiple: int
    """Pictures whose height or width is no multiple of it are continued by their mirror image inside."""
    reach: int
    """An output pixel depends on the input pixels that are at most so far away, in rows or columns, and no others."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths, steps = config.widths, list(itertools.pairwise(config.widths))
        self.multiple = 2 ** len(steps)
        # Seen from the output: convolutions and interpolations up, two convolutions a block, convolutions and averages
        # down and the stem take 2m - 1, 2bm, 2m - 2 and 1; and the place within a coarse pixel up to m - 1 more.
        self.reach = (5 + 2 * config.blocks) * self.multiple - 3
        self.stem = Plain(config.source, widths[-1], normed=False)
        self.downs = nn.ModuleList(Plain(fine, coarse, normed=True) for coarse, fine in reversed(steps))
        self.blocks = nn.ModuleList(Block(widths[0], config.blocks) for _ in range(config.blocks))
        self.narrows = nn.ModuleList(conv(coarse, fine, 1) for coarse, fine in steps)
        self.skips = nn.ModuleList(conv(fine, fine, 1, bias=False) for _, fine in steps if config.skips)
        # At full size a normalisation takes as long as a convolution, and only the linear last layer comes after it.
        self.ups = nn.ModuleList(Plain(fine, fine, normed=i < len(steps)) for i, (_, fine) in enumerate(steps, 1))
        self.to_image = conv(widths[-1], config.channels, 3, gain=0.1)
        self.pass_on = passing(config.source, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Translate pictures [N, source, H, W] in [-1, 1] to [N, channels, H, W] in [-1, 1]."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the maps [N, C, h, w] on the way to the middle: the picture itself, each scale, and after each block.

        All but the first are of the picture continued to multiples of `multiple`.
        """
        maps = [x, self.stem(continued(x, self.multiple))]
        for down in self.downs:
            maps.append(down(F.avg_pool2d(maps[-1], 2)))
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Make pictures [N, channels, H, W], as large as the first map, of what `encode` returned."""
        x, (height, width) = maps[-1], maps[0].shape[2:]
        for index, (narrow, up) in enumerate(zip(self.narrows, self.ups, strict=True)):
            x = narrow(x)  # before it is made larger, for that is four times less work
            x = resize(x, (2 * x.shape[2], 2 * x.shape[3]))
            if self.config.skips:
                x = x + self.skips[index](maps[len(self.ups) - index])
            x = up(x)
        return clamp(self.pass_on(maps[0]) + self.to_image(x)[:, :, :height, :width])


def continued(x: Tensor, multiple: int) -> Tensor:
    """Continue pictures [N, C, H, W] to the right and below by their mirror image, to multiples; as numpy's "reflect".

    To and fro where the picture is smaller than what is missing, which `F.pad` refuses.
    """
    for dim, side in ((2, x.shape[2]), (3, x.shape[3])):
        # An exported graph is of any size; it knows no remainder by a number that is not known yet, but by a tensor.
        if torch.compiler.is_exporting() or side % multiple:
            places = torch.arange((side + multiple - 1) // multiple * multiple, device=x.device)
            places = places % torch.full_like(places, max(1, 2 * side - 2))
            x = x.index_select(dim, side - 1 - (places - side + 1).abs())
    return x


class Block(nn.Module):
    """x + a branch of two 3x3 convolutions (He et al. 2016), with half as many features between them."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        inner = -(-width // 2)
        self.first = conv(width, inner, 3, ACTIVATED)
        self.second = conv(inner, width, 3, gain=count**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [N, width, H, W]."""
        return x + self.second(normalise(activate(self.first(x))))


def passing(source: int, channels: int) -> nn.Conv2d:
    """Return a 1x1 convolution that keeps colours, spreads grey to colours or averages them, and keeps alpha.

    Where only the output has alpha, all is opaque.
    """
    layer = nn.Conv2d(source, channels, 1)
    colours, results = source - (source == 4), channels - (channels == 4)
    # In lists, as without memory (modelfile.py) most tensor functions would import all of PyTorch's compiler.
    rows = [[float(i == o) if colours == results else 1 / colours for i in range(colours)] for o in range(results)]
    for row in rows:
        row += [0.0] * (source - colours)
    rows += [[0.0] * colours + [1.0] * (source - colours)] * (channels - results)
    weight, bias = torch.tensor(rows)[:, :, None, None], torch.tensor([float(not any(row)) for row in rows])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


class Discriminator(nn.Module):
    """Pictures to a logit for each place (PatchGAN, Isola et al. 2017, section 3.2.2) at several scales; any size.

    The scales share their features, unlike the networks of pix2pixHD (Wang et al. 2018, section 3.2).
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.channels + config.source, *config.widths[::-1])
        self.stages = nn.ModuleList(Plain(a, b, normed=False) for a, b in itertools.pairwise(widths))
        self.to_logits = nn.ModuleList(conv(width, 1, 3, bias=False) for width in widths[1:][-config.scales :])

    def forward(
        self, x: Tensor, condition: Tensor | None = None, taps: tuple[int, ...] = ()
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Judge places of pictures.

        Args:
            x: [N, channels, H, W].
            condition: pictures [N, source, H, W] that it judges under, where there is a source.
            taps: the stages, from 0 at full size on, whose features are asked for (feature matching, Wang et al. 2018,
                "pix2pixHD", eq. 4).

        Returns:
            Logits [N, scales · H · W] of each pixel at each of the coarsest stages, from fine to coarse; with taps also
            a list of features [N, C, h, w].

        Raises:
            ValueError: a condition is missing, or there is one that it was not made for.
        """
        if (condition is None) != (self.config.source == 0):
            raise ValueError(f"this network judges under {self.config.source} channels: give a condition like that")
        size, features = x.shape[2:], list[Tensor]()
        x = x if condition is None else torch.cat([x, condition], 1)
        for stage in self.stages:
            x = stage(F.avg_pool2d(x, 2, ceil_mode=True) if features else x)
            features.append(x)
        judged = zip(self.to_logits, features[-len(self.to_logits) :], strict=True)
        # Repeated to full size, so that each scale has an equal say, in penalties too.
        logits = torch.cat([F.interpolate(to_logit(x), size).flatten(1) for to_logit, x in judged], 1)
        return (logits, [features[tap] for tap in taps]) if taps else logits


class Projector(nn.Module):
    """Features of places to unit vectors, by a perceptron for each map (Park et al. 2020, section 3.2)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.perceptrons = nn.ModuleList(
            nn.Sequential(
                initialised(nn.Linear(inputs, config.width), ACTIVATED),
                nn.LeakyReLU(SLOPE),
                initialised(nn.Linear(config.width, config.width)),
            )
            for inputs in config.inputs
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map features [N, P, C] of P places, for each map, to [N, P, width] of length 1."""
        pairs = zip(self.perceptrons, features, strict=True)
        return [F.normalize(fp32(perceptron(x)), dim=2) for perceptron, x in pairs]


class Pool(nn.Module):
    """A history of generated pictures, which the discriminator shall not forget (Shrivastava et al. 2017, section 2.3).

    As in CycleGAN (Zhu et al. 2017, section 4); all that it remembers is in its buffers.
    """

    images: Tensor
    """[size, channels, height, width], of which `count` are filled."""
    count: Tensor

    def __init__(self, config: PoolConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("images", torch.zeros(config.size, config.channels, config.height, config.width))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, images: Tensor, chances: Tensor) -> Tensor:
        """Store pictures until the pool is full; then let each, with probability 1/2, change places with one.

        Those of all ranks, one after the other, so that each has the same pool.

        Args:
            images: [N, channels, height, width]; no gradient goes through those that come from the pool.
            chances: [N, 2], uniform in [0, 1): whether a row changes places, and with which.

        Returns:
            [N, channels, height, width].
        """
        result, everyone = images.clone(), gathered(images.detach())
        for row, (change, which) in enumerate(gathered(chances).tolist()):
            if self.count < self.config.size:
                self.images[self.count] = everyone[row]
                self.count += 1
            elif change < 0.5:
                index = int(which * self.config.size)
                if row % world() == rank():
                    result[row // world()] = self.images[index]
                self.images[index] = everyone[row]
        return result
