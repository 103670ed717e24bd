"""A plan for tests that need a run, and train none."""

import dataclasses
from typing import Any

from ganvas.config import Config, NetworkConfig
from ganvas.options import TrainOptions
from ganvas.run import Plan, identity


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        version="1.2.3",
        options=identity(TrainOptions("photos"), "abc"),
        data={"name": "photos", "digest": "abc", "classes": ["cat", "dog"]},
        config=Config(NetworkConfig("a:G", {"widths": [8, 8]}), NetworkConfig("a:D")),
        precision="fp32",
        device="cpu",
        threads=1,
        images_per_second=50.0,
        snap=10,
        log=2,
        legs=(100,),
    )
    return dataclasses.replace(plan, **changes)
