#!/usr/bin/env python3
"""Measures PCCL against what raw sockets do on the same host, in the same run.

    ./run bench [--quick] [--peers 2] [--lanes 1] [--json FILE]

Every comparison alternates between the two programs (A B A B ...), at least seven pairs, and is stated as the
median of the pairs' ratios with their spread: absolute figures of a shared machine mean little.
docs/benchmarks.md defines each figure. A bar that is missed does not change the exit status; only a program
that fails to run does. Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

KIB, MIB = 1024, 1024 * 1024
RATIO_SIZES = [KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB, 128 * MIB]
RATIO_SIZES_QUICK = [KIB, MIB, 64 * MIB]
MEMORY_SIZES = [MIB, 16 * MIB, 256 * MIB]
PEERS_4_SIZES = [4, MIB, 64 * MIB]
BAR_LATENCY_US = 150.0
BAR_RATIO = 0.6
BAR_RATIO_SIZE = 64 * MIB
RUN_TIMEOUT_S = 300


class Failure(Exception):
    """A program that could not be run or gave no figures."""


def size_text(size):
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} B"


def iterations_for(size, quick):
    """Enough for a steady median, few enough that a pair lies within seconds."""
    if size <= 64 * KIB:
        return 300 if quick else 1000
    if size <= MIB:
        return 50 if quick else 100
    if size <= 16 * MIB:
        return 10 if quick else 20
    return 3 if quick else 5


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "samples": list(values)}


class Programs:
    """The two programs that are compared; each call is one short run of its own."""

    def __init__(self, options):
        self.options = options
        binaries = pathlib.Path(options.bin_dir)
        self.perf = binaries / "pccl-perf"
        self.raw = binaries / "bench" / "raw_socket"
        for program in (self.perf, self.raw):
            if not program.exists():
                raise Failure(f"{program} is not there: ./run build makes it")

    @staticmethod
    def call(command):
        try:
            done = subprocess.run([str(part) for part in command], check=False, timeout=RUN_TIMEOUT_S,
                                  capture_output=True, text=True)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{command[0]} took longer than {RUN_TIMEOUT_S} s") from error
        if done.returncode != 0:
            text = " ".join(str(part) for part in command)
            raise Failure(f"{text}\nended with status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def run_perf(self, size, peers, iterations, extra=()):
        """The one row of a run of pccl-perf."""
        options = self.options
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "perf.json"
            command = [self.perf, "all_reduce", "-b", size, "-e", size, "-n", iterations, "-w", 2, "-c", 0,
                       "--peers", peers, "--plan", options.plan, "-T", 120, "--json", file, *extra]
            if options.lanes is not None:
                command += ["--lanes", options.lanes]
            self.call(command)
            rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        if len(rows) != 1:
            raise Failure(f"pccl-perf gave {len(rows)} rows and not one")
        return rows[0]

    def run_raw(self, size, iterations, pings=0):
        options = self.options
        flows = options.lanes if options.lanes is not None else 1
        return json.loads(self.call([self.raw, "--bytes", size, "--flows", flows, "--segment-bytes",
                                     options.segment_bytes, "--iterations", iterations, "--warmup", 2,
                                     "--pings", pings]))


def bytes_per_us(size, peers, time_us):
    """Bus bandwidth: what crosses each member's links in one direction; for two members it is size / time."""
    return size * 2 * (peers - 1) / peers / time_us


def compare_sizes(programs, sizes, peers, pairs, quick):
    rows = []
    for size in sizes:
        iterations = iterations_for(size, quick)
        ratios, ratios_in_place, perf_runs, raw_runs = [], [], [], []
        for _ in range(pairs):
            perf = programs.run_perf(size, peers, iterations)
            raw = programs.run_raw(size, iterations)
            raw_rate = size / raw["time_us"]
            ratios.append(bytes_per_us(size, peers, perf["out_of_place"]["p50_us"]) / raw_rate)
            ratios_in_place.append(bytes_per_us(size, peers, perf["in_place"]["p50_us"]) / raw_rate)
            perf_runs.append(perf)
            raw_runs.append(raw)
        row = {
            "size": size, "peers": peers, "pairs": pairs,
            "ratio": spread(ratios), "ratio_in_place": spread(ratios_in_place),
            "time_us": spread([run["out_of_place"]["p50_us"] for run in perf_runs]),
            "time_in_place_us": spread([run["in_place"]["p50_us"] for run in perf_runs]),
            "raw_time_us": spread([run["time_us"] for run in raw_runs]),
            "cpu_s_per_gb": spread([run["out_of_place"]["cpu_s_per_gb"] for run in perf_runs]),
            "raw_cpu_s_per_gb": spread([run["cpu_s_per_gb"] for run in raw_runs]),
        }
        rows.append(row)
        print_comparison(row)
    return rows


def print_comparison_head(peers):
    print(f"\n{peers} members: bus bandwidth over raw socket throughput (median of pairs, least to greatest)")
    print(f"{'size':>8}  {'time us':>10}  {'in place':>10}  {'raw us':>10}  {'GB/s':>6}  {'raw':>6}  "
          f"{'ratio':>22}  {'in place':>22}  {'CPU s/GB':>8}  {'raw':>6}")


def print_comparison(row):
    size, peers = row["size"], row["peers"]

    def ratio_text(ratio):
        return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"

    time_us, raw_us = row["time_us"]["median"], row["raw_time_us"]["median"]
    in_place_us = row["time_in_place_us"]["median"]
    print(f"{size_text(size):>8}  {time_us:10.1f}  {in_place_us:10.1f}  {raw_us:10.1f}  "
          f"{bytes_per_us(size, peers, time_us) * 1e-3:6.2f}  {size / raw_us * 1e-3:6.2f}  "
          f"{ratio_text(row['ratio']):>22}  {ratio_text(row['ratio_in_place']):>22}  "
          f"{row['cpu_s_per_gb']['median']:8.2f}  {row['raw_cpu_s_per_gb']['median']:6.2f}", flush=True)


def measure_latency(programs, peers, pairs, quick):
    iterations = 1000 if quick else 3000
    ours, in_place, round_trips, exchanges = [], [], [], []
    for _ in range(pairs):
        perf = programs.run_perf(4, peers, iterations, ("-w", 50))
        raw = programs.run_raw(4, iterations, pings=iterations)
        ours.append(perf["out_of_place"]["p50_us"])
        in_place.append(perf["in_place"]["p50_us"])
        round_trips.append(raw["ping_p50_us"])
        exchanges.append(raw["time_us"])
    result = {"peers": peers, "pairs": pairs, "time_us": spread(ours), "time_in_place_us": spread(in_place),
              "raw_round_trip_us": spread(round_trips), "raw_exchange_us": spread(exchanges),
              "ratio_to_round_trip": spread([a / b for a, b in zip(ours, round_trips)])}
    print(f"\n4 bytes, {peers} members, microseconds (median of medians, least to greatest)")
    for name, key in (("all-reduce", "time_us"), ("all-reduce in place", "time_in_place_us"),
                      ("raw round trip", "raw_round_trip_us"), ("raw exchange with ack", "raw_exchange_us")):
        figure = result[key]
        print(f"{name:>24}  {figure['median']:8.1f}  ({figure['min']:.1f} to {figure['max']:.1f})")
    sys.stdout.flush()
    return result


def measure_memory(programs, peers, quick):
    print("\nmemory beyond the buffers and what was resident after connecting, member with the most, MiB")
    print(f"{'size':>8}  {'out of place':>12}  {'in place':>10}  {'in place less undo':>18}")
    rows = []
    for size in MEMORY_SIZES[:2] if quick else MEMORY_SIZES:
        outside = programs.run_perf(size, peers, 3, ("--out-of-place-only",))["out_of_place"]
        inside = programs.run_perf(size, peers, 3, ("--in-place-only",))["in_place"]
        row = {"size": size, "out_of_place_bytes": outside["extra_resident_bytes"],
               "in_place_bytes": inside["extra_resident_bytes"],
               "in_place_less_undo_bytes": max(0, inside["extra_resident_bytes"] - size)}
        rows.append(row)
        columns = (("out_of_place_bytes", 13), ("in_place_bytes", 11), ("in_place_less_undo_bytes", 19))
        figures = (f"{row[name] / MIB:{width}.1f}" for name, width in columns)
        print(f"{size_text(size):>8}", *figures, flush=True)
    return rows


def judge(latency, rows):
    """The project's bars, each with whether this run met it."""
    bars = []
    if latency["peers"] == 2:
        median = latency["time_us"]["median"]
        bars.append({"bar": f"a 4-byte all-reduce of 2 members takes under {BAR_LATENCY_US:g} us (median)",
                     "figure": f"{median:.1f} us", "met": median < BAR_LATENCY_US})
    for row in rows:
        if row["size"] == BAR_RATIO_SIZE and row["peers"] == 2:
            median = row["ratio"]["median"]
            bars.append({"bar": f"64 MiB between 2 members move at {BAR_RATIO:g} or more of raw sockets",
                         "figure": f"{median:.2f}", "met": median >= BAR_RATIO})
    print()
    for bar in bars:
        print(f"bar: {bar['bar']}: {'met' if bar['met'] else 'not met'} ({bar['figure']})")
    return bars


def parse_arguments(arguments):
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(prog="./run bench",
                                     description="Measures PCCL against raw sockets on this host.")
    parser.add_argument("--quick", action="store_true", help="three pairs, fewer sizes: a look, not a result")
    parser.add_argument("--peers", type=int, default=2, help="members of the main comparison (default: 2)")
    parser.add_argument("--lanes", type=int, help="connections to each neighbour, and flows of the raw test")
    parser.add_argument("--plan", choices=("auto", "ring", "mesh"), default="auto")
    parser.add_argument("--segment-bytes", type=int, default=256 * KIB, help="segments of the raw test")
    parser.add_argument("--pairs", type=int, help="pairs of each comparison (default: 7, quick: 3)")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--bin-dir", default=str(root / "build" / "release" / "bin"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peers < 2 or (options.pairs is not None and options.pairs < 1):
        parser.error("--peers must be at least 2 and --pairs at least 1")
    if options.lanes is not None and not 1 <= options.lanes <= 64:
        parser.error("--lanes must be from 1 to 64")
    return options


def measure(options):
    programs = Programs(options)
    quick = options.quick
    pairs = options.pairs if options.pairs is not None else (3 if quick else 7)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, {platform.machine()}, load {load:.1f}, {pairs} pairs, alternating")
    if load > 0.5:
        print("the machine is not idle: ratios will scatter")
    latency = measure_latency(programs, options.peers, pairs, quick)
    print_comparison_head(options.peers)
    sizes = RATIO_SIZES_QUICK if quick else RATIO_SIZES
    rows = compare_sizes(programs, sizes, options.peers, pairs, quick)
    more = []
    if options.peers != 4:
        print_comparison_head(4)
        more = compare_sizes(programs, PEERS_4_SIZES[1:2] if quick else PEERS_4_SIZES, 4, pairs, quick)
    memory = measure_memory(programs, options.peers, quick)
    bars = judge(latency, rows)
    return {"processors": os.cpu_count(), "machine": platform.machine(), "load_before": load, "pairs": pairs,
            "quick": quick, "latency": latency, "comparisons": rows + more, "memory": memory, "bars": bars}


def main(arguments):
    options = parse_arguments(arguments)
    try:
        results = measure(options)
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except (Failure, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
