"""One worker of the demo: trains together with whoever is in the run at the moment.

Every step is the customary loop of a PCCL program: admit the peers that wait, synchronise the shared state
when somebody has joined, compute the gradient of an own share of the batch, and reduce it with a retry when a
peer is lost. What happens is printed as one JSON object a line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from typing import Any

import numpy as np
from model import BATCH_SIZE, NOISE, Network, batch_of_step, load_digits

import pccl

WAIT_PAUSE_S = 0.01


def report(event: str, **fields: Any) -> None:
    """One line for the process that started this one."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Worker:
    """A member of the run with its copy of the model."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.deadline_s = time.monotonic() + options.deadline_s
        self.data = load_digits(options.seed)
        # Each worker starts from other weights on purpose: what they end with comes from the shared state.
        self.network = Network(seed=options.seed + options.index)
        self.step = np.zeros(1, np.int64)
        self.state = pccl.SharedState(
            [
                pccl.TensorInfo.from_numpy(self.network.parameters, "parameters"),
                pccl.TensorInfo.from_numpy(self.network.momentum, "momentum"),
                pccl.TensorInfo.from_numpy(self.step, "step"),
            ]
        )
        # One array for the reduce: the gradient, then the summed loss, then the number of samples.
        self.contribution = np.zeros(self.network.parameters.size + 2, np.float32)
        self.reduced = np.zeros_like(self.contribution)
        self.communicator = pccl.Communicator(
            options.master, bind_address="127.0.0.1", port_first=0, on_failure=pccl.OnFailure.REPORT
        )

    def world_size(self) -> int:
        return self.communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE)

    def check_deadline(self) -> None:
        if time.monotonic() > self.deadline_s:
            raise SystemExit("the worker ran out of time")

    def admit(self) -> bool:
        """Admits the peers that wait to join. True when there were any."""
        if not self.communicator.are_peers_pending():
            return False
        self.communicator.update_topology()
        return True

    def synchronise(self) -> None:
        """Makes parameters, momentum and step equal on all members. The revision counts synchronisations."""
        info = self.communicator.sync_shared_state(self.state)
        self.state.push_revision()
        report("synchronised", step=int(self.step[0]), received_bytes=info.rx_bytes)

    def compute(self) -> None:
        """Fills the contribution with the sums over this worker's share of the batch."""
        step = int(self.step[0])
        batch = batch_of_step(step, len(self.data.train_labels), self.options.seed)
        noise = np.random.default_rng((self.options.seed, step)).normal(0.0, NOISE, (BATCH_SIZE, 64))
        share = slice(self.communicator.rank, None, self.world_size())
        images = self.data.train_images[batch[share]] + noise[share].astype(np.float32)
        labels = self.data.train_labels[batch[share]]
        self.contribution[-2] = self.network.loss_and_gradient(images, labels, self.contribution[:-2])
        self.contribution[-1] = len(labels)

    def reduce(self) -> int:
        """Sums the contributions of all members, again among the survivors when one is lost. Returns how many
        members are in the result."""
        while True:
            self.check_deadline()
            self.compute()
            if self.world_size() < 2:
                self.reduced[:] = self.contribution
                return 1
            try:
                info = self.communicator.all_reduce(self.contribution, self.reduced, op=pccl.ReduceOp.SUM)
                return info.world_size
            except pccl.PCCLError as error:
                if error.result not in (pccl.Result.RANK_CONNECTION_LOST, pccl.Result.TOO_FEW_PEERS):
                    raise
                report("retry", step=int(self.step[0]), world=self.world_size(), reason=str(error))

    def must_wait(self) -> bool:
        """Whether the run waits for its full size: before the first step, and once more before the last part,
        so that a newcomer always gets its turn."""
        wait_here = int(self.step[0]) in (0, self.options.full_from_step)
        return wait_here and self.world_size() < self.options.start_size

    def train(self) -> None:
        """Runs to the last step, whoever comes and goes."""
        self.communicator.connect()
        report("connected", world=self.world_size())
        # A newcomer goes on where the members are that have just admitted it: behind update_topology.
        changed = True
        while self.step[0] < self.options.steps:
            self.check_deadline()
            started_s = time.monotonic()
            if changed or self.admit():
                self.synchronise()
                changed = False
            if self.must_wait():
                time.sleep(WAIT_PAUSE_S)
                continue
            world = self.reduce()
            samples = self.reduced[-1]
            self.network.apply(self.reduced[:-2] / samples)
            self.step[0] += 1
            report("step", step=int(self.step[0]), world=world, loss=float(self.reduced[-2] / samples))
            time.sleep(max(0.0, started_s + self.options.step_ms / 1000 - time.monotonic()))

    def finish(self) -> None:
        """Reports the result; the communicator leaves the run with the end of the process."""
        digest = hashlib.sha256(self.network.parameters.tobytes()).hexdigest()
        accuracy = self.network.accuracy(self.data.test_images, self.data.test_labels)
        report("done", step=int(self.step[0]), accuracy=accuracy, sha256=digest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", required=True, help="address of the coordinator, HOST:PORT")
    parser.add_argument("--index", type=int, default=0, help="number of this worker")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--start-size", type=int, default=1, help="members to wait for before the first step")
    parser.add_argument("--full-from-step", type=int, default=-1, help="wait for them again at this step")
    parser.add_argument("--step-ms", type=float, default=0.0, help="shortest time of a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline-s", type=float, default=120.0, help="give up after this time")
    worker = Worker(parser.parse_args())
    worker.train()
    worker.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
