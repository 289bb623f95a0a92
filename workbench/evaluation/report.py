"""What an evaluation found."""

from dataclasses import dataclass

import pandas as pd

from .sandbox import PASS


@dataclass(frozen=True)
class EvalReport:
    """`tasks` has a row for each task: task_id, base and plus (verdicts; plus is null where a benchmark has
    one test suite), detail, completion. `loss_per_token` is the held-out loss in nats, null where not
    measured."""

    model: str
    benchmark: str
    tasks: pd.DataFrame
    loss_per_token: float | None = None

    @property
    def n_passed(self) -> int:
        return int((self.tasks["base"] == PASS).sum())

    @property
    def pass_at_1(self) -> float:
        """Share of tasks (0 to 1) whose one greedy completion passes."""
        return self.n_passed / max(1, len(self.tasks))

    def __repr__(self) -> str:
        loss = "" if self.loss_per_token is None else f", loss {self.loss_per_token:.4f} nats/token"
        return (
            f"<EvalReport {self.model} on {self.benchmark}: pass@1 {self.n_passed}/{len(self.tasks)}{loss}>"
        )
