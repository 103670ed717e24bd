"""What can be learned: which discriminator compares which real with which fake, one file a task."""

from ganvas.errors import UserError
from ganvas.find import find
from ganvas.tasks.base import Task
from ganvas.tasks.generate import Generate
from ganvas.tasks.paired import Paired
from ganvas.tasks.unpaired import Unpaired
from ganvas.tasks.video import Video

TASKS: dict[str, type[Task]] = {
    "generate": Generate,
    "paired": Paired,
    "unpaired": Unpaired,
    "style": Unpaired,
    "video": Video,
}


def find_task(name: str) -> type[Task]:
    """Find a task by its name or by import path (`mypackage.tasks:MyTask`).

    Raises:
        UserError: nothing of that name, or no task.
    """
    task = find(name, TASKS, "task")
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise UserError(f"{name} is no task; a task is a subclass of ganvas.tasks.base.Task")
    return task
