"""How well a model does the tasks of the paper's Figure 2, judged by lm-eval on local files.

`sets.py` reads the files, `definitions.py` says each task in lm-eval's words, `run.py` has lm-eval ask
them in a process of its own (`process.py`), `results.py` is what comes back. lm-eval is an optional
requirement.
"""

from solu_model.evaluation.tasks.results import TASKS_FILE, TaskResult, TaskResults
from solu_model.evaluation.tasks.run import run_tasks
from solu_model.evaluation.tasks.sets import TaskError, find_sets

__all__ = ["TASKS_FILE", "TaskError", "TaskResult", "TaskResults", "find_sets", "run_tasks"]
