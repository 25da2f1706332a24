"""A training run that loses a worker, gains another, and does not care.

Starts a coordinator and worker processes, kills one of them with SIGKILL half-way, starts a new one later,
and shows what happens. Ends with a table and a chart; the exit status is 0 only if both events happened,
every worker that was alive at the end holds the same bits, and the classifier is good.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import report

HERE = pathlib.Path(__file__).resolve().parent
ACCURACY_MIN = 0.95
MESSAGE_WAIT_S = 0.1
EXIT_WAIT_S = 20.0


@dataclass
class WorkerProcess:
    """A worker, what it has reported, and how it ended."""

    index: int
    process: subprocess.Popen[str]
    errors: list[str] = field(default_factory=list)
    first_step: int | None = None
    last_step: int = 0
    received_bytes: int = 0
    retries: int = 0
    result: dict[str, Any] | None = None
    killed: bool = False


class Demo:
    """The processes of one run and the record of what they reported."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.messages: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self.workers: list[WorkerProcess] = []
        self.coordinator: subprocess.Popen[str] | None = None
        self.address = ""
        self.started_s = time.monotonic()
        self.history = report.History()
        self.display = report.Display(options.steps)

    def start_coordinator(self) -> None:
        """A coordinator on a free port of loopback."""
        command = [sys.executable, "-m", "pccl.master", "--listen-address", "127.0.0.1:0"]
        self.coordinator = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.coordinator.stdout is not None
        line = self.coordinator.stdout.readline()
        found = re.fullmatch(r"listening on (\S+)\n", line)
        if not found:
            raise RuntimeError(f"the coordinator did not start: {line!r}")
        self.address = found[1]

    def start_worker(self) -> WorkerProcess:
        """One more worker; its lines arrive in the queue."""
        options, index = self.options, len(self.workers)
        command = [sys.executable, str(HERE / "worker.py"), "--master", self.address, "--index", str(index)]
        command += ["--steps", str(options.steps), "--step-ms", str(options.step_ms)]
        command += ["--start-size", str(options.workers), "--full-from-step", str(options.steps * 9 // 10)]
        command += ["--seed", str(options.seed), "--deadline-s", str(options.deadline_s)]
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        worker = WorkerProcess(index, process)
        self.workers.append(worker)
        threading.Thread(target=self.read_messages, args=(worker,), daemon=True).start()
        threading.Thread(target=self.read_errors, args=(worker,), daemon=True).start()
        return worker

    def read_messages(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            try:
                self.messages.put((worker.index, json.loads(line)))
            except ValueError:
                worker.errors.append(line.rstrip())
        self.messages.put((worker.index, {"event": "closed"}))

    @staticmethod
    def read_errors(worker: WorkerProcess) -> None:
        assert worker.process.stderr is not None
        worker.errors.extend(line.rstrip() for line in worker.process.stderr)

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def note(self, text: str) -> None:
        """An event, on the screen."""
        self.display.note(self.elapsed_s(), text)

    def handle(self, index: int, message: dict[str, Any]) -> None:
        """Takes one message of a worker."""
        worker = self.workers[index]
        event = message["event"]
        if event == "step":
            worker.last_step = message["step"]
            if worker.first_step is None:
                worker.first_step = message["step"]
            if self.history.add(self.elapsed_s(), message["step"], message["world"], message["loss"]):
                self.display.step(message["step"], message["world"], message["loss"])
        elif event == "synchronised":
            worker.received_bytes += message["received_bytes"]
            if index >= self.options.workers:
                self.history.joined = (self.elapsed_s(), message["step"])
                self.note(
                    f"worker {index} joined at step {message['step']} and received "
                    f"{message['received_bytes'] / 1e3:.0f} kB of weights and momentum"
                )
        elif event == "retry":
            worker.retries += 1
            self.note(f"worker {index} repeats step {message['step']} with {message['world']} members")
        elif event == "done":
            worker.result = message
        elif event == "closed" and not worker.killed and worker.result is None:
            worker.process.wait(EXIT_WAIT_S)
            last_words = "\n  ".join(worker.errors[-8:]) or "no message"
            raise RuntimeError(f"worker {index} ended without a result:\n  {last_words}")

    def run(self) -> None:
        """The whole story, until every worker that was not killed has ended."""
        options = self.options
        self.start_coordinator()
        self.note(f"coordinator on {self.address}; {options.workers} workers learn handwritten digits")
        for _ in range(options.workers):
            self.start_worker()
        kill_step, join_step = options.steps // 2, options.steps * 3 // 5
        victim = self.workers[options.workers // 2]
        while not all(worker.killed or worker.result for worker in self.workers):
            if self.elapsed_s() > options.deadline_s:
                raise RuntimeError(f"the run did not end within {options.deadline_s:.0f} s")
            try:
                index, message = self.messages.get(timeout=MESSAGE_WAIT_S)
            except queue.Empty:
                continue
            self.handle(index, message)
            step = self.history.last_step
            if step >= kill_step and not victim.killed:
                victim.killed = True
                os.kill(victim.process.pid, signal.SIGKILL)
                self.history.killed = (self.elapsed_s(), step)
                self.note(f"killed worker {victim.index} (process {victim.process.pid}) at step {step}")
            if step >= join_step and len(self.workers) == options.workers:
                worker = self.start_worker()
                self.note(f"started worker {worker.index}, which knows nothing yet")
        for worker in self.workers:
            worker.process.wait(EXIT_WAIT_S)

    def stop(self) -> None:
        """Ends every process, whatever happened."""
        self.display.finish()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
        if self.coordinator is not None:
            self.coordinator.terminate()
            try:
                self.coordinator.wait(EXIT_WAIT_S)
            except subprocess.TimeoutExpired:
                self.coordinator.kill()
                self.coordinator.wait()

    def failures(self) -> list[str]:
        """What is not as it should be."""
        found = []
        results = [worker.result for worker in self.workers if worker.result]
        if self.history.killed is None or not any(worker.killed for worker in self.workers):
            found.append("no worker was killed")
        elif self.history.size_after_kill() != self.options.workers - 1:
            found.append("the run did not go on without the killed worker")
        if self.history.joined is None or self.history.last_world != self.options.workers:
            found.append("the new worker did not take part")
        if len(results) != self.options.workers:
            found.append(f"{len(results)} workers finished instead of {self.options.workers}")
        if len({result["sha256"] for result in results}) != 1:
            found.append("the workers ended with different parameters")
        if min((result["accuracy"] for result in results), default=0.0) < ACCURACY_MIN:
            found.append(f"the accuracy is below {ACCURACY_MIN}")
        for worker in self.workers:
            if not worker.killed and worker.process.returncode != 0:
                found.append(f"worker {worker.index} ended with status {worker.process.returncode}")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4, help="workers at the start (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=700, help="training steps (default: %(default)s)")
    parser.add_argument("--step-ms", type=float, default=25.0, help="shortest time of a step, to watch it")
    parser.add_argument("--out", type=pathlib.Path, default="demo-out", help="folder of the chart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline-s", type=float, default=150.0, help="give up after this time")
    options = parser.parse_args()
    if options.workers < 3 or options.steps < 40:
        parser.error("the demo needs at least 3 workers and 40 steps")
    demo = Demo(options)
    error = None
    try:
        demo.run()
    except (RuntimeError, OSError, subprocess.SubprocessError) as caught:
        error = caught
    except KeyboardInterrupt:
        error = RuntimeError("interrupted")
    finally:
        demo.stop()
    failures = [str(error)] if error else demo.failures()
    report.print_table(demo.history, demo.workers)
    if demo.history.steps:
        print(f"\nchart: {report.draw_chart(demo.history, options.out / 'run.png')}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if failures:
        return 1
    print("\nBoth events happened, and every worker ended with the same bits.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
