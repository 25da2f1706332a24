#!/usr/bin/env python3
"""What a fault costs: a member that is killed in the middle of a reduction, and a coordinator that is killed
again and again.

    ./run bench faults [--quick] [--json FILE]

Members are processes of their own on the loopback address. Disturbed and undisturbed runs alternate, and
the result is the median of the ratios. docs/benchmarks.md defines each figure. A bar that is missed does not
change the exit status; a call that fails does.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import pccl

MIB = 1024 * 1024
PEERS = 4
BAR_LOSS = 1.6
BAR_COORDINATOR = 0.95
KILL_EVERY_S = 2.0
WAIT_S = 120


class Failure(Exception):
    """A call that failed, or a process that did."""


def connect(address, members, count):
    options = {"on_failure": pccl.OnFailure.RETRY, "bind_address": "127.0.0.1", "port_first": 0}
    communicator = pccl.Communicator(address, 0, **options)
    communicator.connect()
    while communicator.get_attribute(pccl.Attribute.GLOBAL_WORLD_SIZE) < members:
        communicator.update_topology()
    return communicator, numpy.ones(count, numpy.float32), numpy.empty(count, numpy.float32)


def reduce_once(communicator, send, receive):
    begin = time.perf_counter()
    info = communicator.all_reduce(send, receive, op=pccl.ReduceOp.SUM)
    took = time.perf_counter() - begin
    if receive[0] != info.local_world_size or receive[-1] != info.local_world_size:
        raise Failure(f"wrong sum {receive[0]} of {info.local_world_size}")
    return took


def member(address, members, count, pipe):
    """Obeys the parent: ("once",) reduces once, ("until", time) reduces until all have seen that time."""
    communicator, send, receive = connect(address, members, count)
    reduce_once(communicator, send, receive)
    pipe.send("ready")
    flag, agreed = numpy.zeros(1, numpy.float32), numpy.zeros(1, numpy.float32)
    while True:
        order = pipe.recv()
        if order[0] == "once":
            pipe.send(reduce_once(communicator, send, receive))
        elif order[0] == "until":
            rounds, begin = 0, time.perf_counter()
            agreed[0] = 0
            while agreed[0] == 0:
                reduce_once(communicator, send, receive)
                rounds += 1
                flag[0] = time.time() >= order[1]
                communicator.all_reduce(flag, agreed, op=pccl.ReduceOp.MAX, tag=1)
            pipe.send(rounds / (time.perf_counter() - begin))
        else:
            return


class Members:
    """Processes that reduce together on request."""

    def __init__(self, address, members, count):
        spawn = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(members):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=member, args=(address, members, count, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        self.answers()

    def order(self, *what):
        for pipe in self.pipes:
            pipe.send(what)

    def answers(self):
        out = []
        for pipe in self.pipes:
            if not pipe.poll(WAIT_S):
                raise Failure(f"a member gave no answer for {WAIT_S} s")
            try:
                out.append(pipe.recv())
            except EOFError:
                raise Failure("a member ended with an error") from None
        return out

    def kill(self, index):
        os.kill(self.processes[index].pid, signal.SIGKILL)
        self.processes.pop(index).join()
        self.pipes.pop(index).close()

    def close(self):
        for pipe in self.pipes:
            try:
                pipe.send(("end",))
            except OSError:
                pass  # It has ended already.
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()


class Coordinator:
    """A pccl-master with a record, which can be killed and started again at its port."""

    def __init__(self, program, folder):
        self.program, self.folder, self.listen = program, folder, "127.0.0.1:0"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, "--listen", self.listen, "--state", self.folder],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise Failure(f"the coordinator said {line!r}")
        self.listen = line.split()[-1]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def measure_loss(program, size, pairs):
    """Time of the survivors' call when one of four members is killed half-way, by the undisturbed time."""
    ratios = []
    for pair in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            coordinator = Coordinator(program, folder)
            members = Members(coordinator.listen, PEERS, size // 4)
            try:
                undisturbed = []
                for _ in range(3):
                    members.order("once")
                    undisturbed.append(max(members.answers()))
                whole = statistics.median(undisturbed)
                members.order("once")
                time.sleep(whole / 2)
                members.kill(pair % PEERS)
                disturbed = max(members.answers())
                ratios.append(disturbed / whole)
                print(f"  {whole * 1e3:8.0f} ms undisturbed, {disturbed * 1e3:8.0f} ms with the loss, "
                      f"ratio {ratios[-1]:.2f}", flush=True)
            finally:
                members.close()
                coordinator.kill()
    return ratios


def measure_coordinator(program, size, pairs, window_s):
    """Rate of back-to-back reductions while the coordinator is killed again and again, by that without."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        coordinator = Coordinator(program, folder)
        members = Members(coordinator.listen, PEERS, size // 4)
        kills = 0
        try:
            for _ in range(pairs):
                members.order("until", time.time() + window_s)
                undisturbed = min(members.answers())
                end = time.time() + window_s
                members.order("until", end)
                while time.time() + KILL_EVERY_S / 2 < end:
                    time.sleep(KILL_EVERY_S / 2)
                    coordinator.kill()
                    coordinator.start()
                    kills += 1
                    time.sleep(max(0.0, min(KILL_EVERY_S / 2, end - time.time())))
                disturbed = min(members.answers())
                ratios.append(disturbed / undisturbed)
                print(f"  {undisturbed:8.1f} a second undisturbed, {disturbed:8.1f} with "
                      f"{kills} kills so far, ratio {ratios[-1]:.3f}", flush=True)
        finally:
            members.close()
            coordinator.kill()
    return ratios, kills


def judge(name, ratios, bar, at_most):
    median = statistics.median(ratios)
    met = median <= bar if at_most else median >= bar
    print(f"{name}: median {median:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), "
          f"bar {'at most' if at_most else 'at least'} {bar}: {'met' if met else 'NOT met'}")
    return {"median": median, "samples": ratios, "bar": bar, "met": met}


def main(arguments):
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(prog="./run bench faults", description="Measures what faults cost.")
    parser.add_argument("--quick", action="store_true", help="a look, not a result")
    parser.add_argument("--loss-mib", type=int, default=256,
                        help="size of the reduction that loses a member")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--bin-dir", default=str(root / "build" / "release" / "bin"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.loss_mib < 1:
        parser.error("--loss-mib must be at least 1")
    program = str(pathlib.Path(options.bin_dir) / "pccl-master")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {PEERS} members")
    try:
        print(f"one member is killed half-way through {options.loss_mib} MiB:")
        loss = measure_loss(program, options.loss_mib * MIB, 3 if options.quick else 7)
        print(f"the coordinator is killed every {KILL_EVERY_S:g} s during reductions of 1 MiB:")
        coordinator, kills = measure_coordinator(program, MIB, 2 if options.quick else 6,
                                                 4 if options.quick else 10)
        results = {"loss": judge("a member lost", loss, BAR_LOSS, True),
                   "coordinator": judge("the coordinator killed", coordinator, BAR_COORDINATOR, False),
                   "coordinator_kills": kills}
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except (Failure, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
