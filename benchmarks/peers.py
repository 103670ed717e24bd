"""The peers' environment: Keras with TensorFlow and with JAX in .venv-peers, apart from ganvas's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from report import ROOT

from ganvas.config import Config

PINS = Path(__file__).with_name("constraints-peers.txt")
HOME = ROOT / ".venv-peers"


def command(task: dict[str, object]) -> list[str]:
    """Return the command that does a task of keras_gan.py; the environment is made if it is not there."""
    python, stamp = HOME / "bin" / "python", HOME / "pins.txt"
    if not stamp.exists() or stamp.read_text() != PINS.read_text():
        print("installing Keras, TensorFlow and JAX into .venv-peers; this takes a few minutes ...", flush=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", str(PINS)]
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        subprocess.run(pip, check=True)
        stamp.write_text(PINS.read_text())
    return [str(python), str(PINS.with_name("keras_gan.py")), json.dumps(task)]


def settings(config: Config) -> dict[str, object]:
    """Return the fields of keras_gan.py's tasks that say how a config trains."""
    adam = config.optimiser
    names = {"lr": adam.lr, "beta1": adam.beta1, "beta2": adam.beta2, "eps": adam.eps}
    return {**names, "batch": config.batch, "order": config.order, "seed": config.seed}


def environment(backend: str = "tensorflow") -> dict[str, str]:
    """Return the environment variables for a backend of Keras; TensorFlow's remarks are left out."""
    return {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}


def versions() -> str:
    """Return the peers' versions in words."""
    wanted = ("keras", "tensorflow_cpu", "jax")
    pins = (line.split("==") for line in PINS.read_text().splitlines())
    return ", ".join(f"{name} {version}" for name, version in pins if name in wanted)
