"""The default family on a CUDA GPU: images/s, memory, and share of the matrix product's peak in bfloat16.

CIFAR-10 at R3GAN's published size (Huang et al. 2024, appendix: 4 stages of 768 channels, 2 blocks each, 64 latents,
penalties on the whole batch of 512). Without a CUDA GPU nothing is measured.
"""

import torch
from flops import cost, peak, rate
from report import Row, report
from tools import parse, plan_of

from ganvas.state import State
from ganvas.training import real_batch, step

PUBLISHED = (
    "generator.widths=(768, 768, 768, 768)",
    "generator.blocks=2",
    "generator.plain=0",
    "discriminator.widths=(768, 768, 768, 768)",
    "discriminator.blocks=2",
    "discriminator.plain=0",
    "objective.fraction=1.0",
)


def main() -> None:
    """Measure rounds of steps and of matrix products, in turns."""
    options = parse(__doc__, data=("cifar10", "cifar10"), seconds=(10.0, 1.0), rounds=(5, 2), batch=(512, 64))
    if not torch.cuda.is_available():
        print("there is no CUDA GPU here, so nothing was measured")
        return
    dataset, plan = plan_of(
        options.data, "10s", size="32", batch=options.batch, set=PUBLISHED, device="cuda", precision="bf16"
    )
    state = State(plan.config, torch.device("cuda"))

    def once() -> None:
        step(state, real_batch(dataset, state), 1.0, plan.precision)

    once()
    work = cost(once)
    torch.cuda.reset_peak_memory_stats()
    speeds, peaks = [], []
    for _ in range(options.rounds):
        peaks.append(peak("bf16", "cuda"))
        speeds.append(rate(once, options.seconds, "cuda"))
    share = [100 * work * speed / best for speed, best in zip(speeds, peaks, strict=True)]
    rows = [
        Row("training", "images/s", [speed * options.batch for speed in speeds]),
        Row("matrix product, bf16", "TFLOP/s", [best / 1e12 for best in peaks]),
        Row("share of the peak", "%", share),
        Row("most memory", "GiB", [torch.cuda.max_memory_allocated() / 2**30]),
    ]
    about = {"data": dataset.name, "batch": options.batch, "device": torch.cuda.get_device_name()}
    report("gpu", {**about, "GFLOP an image": round(work / options.batch / 1e9, 2)}, rows)


if __name__ == "__main__":
    main()
