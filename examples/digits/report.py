"""What the demo shows: progress while it runs, a table and a chart at the end."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PRINT_EVERY_STEPS = 50
BAR_WIDTH = 30


@dataclass
class History:
    """One entry for each step, from whichever worker reported it first."""

    times_s: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    worlds: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    killed: tuple[float, int] | None = None
    joined: tuple[float, int] | None = None

    def add(self, time_s: float, step: int, world: int, loss: float) -> bool:
        """Takes a report; False when the step is known already."""
        if self.steps and step <= self.steps[-1]:
            return False
        self.times_s.append(time_s)
        self.steps.append(step)
        self.worlds.append(world)
        self.losses.append(loss)
        return True

    @property
    def last_step(self) -> int:
        return self.steps[-1] if self.steps else 0

    @property
    def last_world(self) -> int:
        return self.worlds[-1] if self.worlds else 0

    def size_after_kill(self) -> int:
        """The smallest number of members in a result after the kill."""
        killed_at = self.killed[1] if self.killed else 0
        return min((w for s, w in zip(self.steps, self.worlds, strict=True) if s > killed_at), default=0)

    def spans(self) -> list[tuple[int, int, int]]:
        """(first step, last step, members) of each stretch with the same number of members."""
        out: list[tuple[int, int, int]] = []
        for step, world in zip(self.steps, self.worlds, strict=True):
            if out and out[-1][2] == world:
                out[-1] = (out[-1][0], step, world)
            else:
                out.append((step, step, world))
        return out


class Display:
    """Live progress: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._terminal = sys.stdout.isatty()
        self._open_line = False

    def step(self, step: int, world: int, loss: float) -> None:
        if self._terminal:
            filled = BAR_WIDTH * step // self._steps
            bar = "█" * filled + "░" * (BAR_WIDTH - filled)
            print(f"\r  {bar} step {step:4d}  members {world}  loss {loss:.4f} ", end="", flush=True)
            self._open_line = True
        elif step % PRINT_EVERY_STEPS == 0 or step == 1:
            print(f"  step {step:4d}  members {world}  loss {loss:.4f}", flush=True)

    def note(self, time_s: float, text: str) -> None:
        self.finish()
        print(f"{time_s:6.1f} s  {text}", flush=True)

    def finish(self) -> None:
        """Ends the line that is being rewritten."""
        if self._open_line:
            print(flush=True)
            self._open_line = False


def print_table(history: History, workers: Sequence[Any]) -> None:
    """Members over time, then one row for each worker."""
    print("\n  steps         members")
    for first, last, world in history.spans():
        print(f"  {first:4d} to {last:4d}  {world}")
    print("\n  worker  steps         received  accuracy  SHA-256 of the parameters")
    for worker in workers:
        first = f"{worker.first_step:4d}" if worker.first_step is not None else "   -"
        row = f"  {worker.index:6d}  {first} to {worker.last_step:4d}  {worker.received_bytes / 1e3:5.0f} kB"
        if worker.result:
            print(f"{row}  {worker.result['accuracy']:8.4f}  {worker.result['sha256']}")
        else:
            print(f"{row}         -  {'killed' if worker.killed else 'no result'}")


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean that forgets with a weight of 0.9."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else 0.9 * out[-1] + 0.1 * value)
    return out


def draw_chart(history: History, path: pathlib.Path) -> pathlib.Path:
    """Loss above, members below, over the seconds of the run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    start_s = history.times_s[0]
    times = [time_s - start_s for time_s in history.times_s]
    end_s = times[-1] if times[-1] > 0 else 1.0
    figure, (loss_axes, member_axes) = pyplot.subplots(
        2, 1, sharex=True, figsize=(9.6, 6.0), height_ratios=(2.4, 1.0), layout="constrained"
    )
    title = "Training on handwritten digits while workers come and go"
    figure.suptitle(title, fontsize=14, fontweight="bold")

    loss_axes.plot(times, history.losses, color="#9db8d9", linewidth=0.8, label="loss of each step")
    loss_axes.plot(times, smoothed(history.losses), color="#1f5fa8", linewidth=2.0, label="running mean")
    loss_axes.set_yscale("log")
    loss_axes.set_ylabel("training loss (cross-entropy)")
    loss_axes.legend(loc="lower left", frameon=False)

    size = max(history.worlds)
    member_axes.step(times, history.worlds, where="post", color="#2e7d4f", linewidth=2.0)
    member_axes.fill_between(times, history.worlds, step="post", color="#2e7d4f", alpha=0.18)
    member_axes.set_ylim(0, size + 0.6)
    member_axes.set_yticks(range(size + 1))
    member_axes.set_ylabel("members in the result")
    member_axes.set_xlabel("seconds since the first step")
    member_axes.set_xlim(0.0, end_s)

    events = [("worker killed", history.killed, "#b3261e"), ("new worker joined", history.joined, "#2e7d4f")]
    for text, event, colour in events:
        if event is None:
            continue
        at_s = event[0] - start_s
        for axes in (loss_axes, member_axes):
            axes.axvline(at_s, color=colour, linestyle="--", linewidth=1.2)
        loss_axes.annotate(
            f"{text}\nstep {event[1]}",
            xy=(at_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-6, -8),
            textcoords="offset points",
            ha="right",
            va="top",
            color=colour,
        )
    for axes in (loss_axes, member_axes):
        axes.grid(True, color="#e3e3e3", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    pyplot.close(figure)
    return path
