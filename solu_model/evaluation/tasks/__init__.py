"""The tasks of the paper's Figure 2 (LAMBADA, ARC, MMLU ...), run by lm-eval on local files.

- `task_files`: read and check the files of a task.
- `lm_eval_config`: describe a task to lm-eval.
- `run`: start lm-eval in a process of its own, which runs `lm_eval_process`.
- `results`: the answers, as a file beside the model.

lm-eval is an optional requirement (`pip install 'solu-explorer[tasks]'`).
"""

from solu_model.evaluation.tasks.results import TASKS_FILE, TaskResult, TaskResults, holds_results
from solu_model.evaluation.tasks.run import run_tasks
from solu_model.evaluation.tasks.task_files import TaskError, find_tasks

__all__ = ["TASKS_FILE", "TaskError", "TaskResult", "TaskResults", "find_tasks", "holds_results", "run_tasks"]
