#!/usr/bin/env python3
"""Writes docs/errors.md from include/pccl/result_table.h; with --check only says whether it is up to date."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "include" / "pccl" / "result_table.h"
PAGE = ROOT / "docs" / "errors.md"
ROW = re.compile(r'X\((\w+), (\d+), (\w+), "((?:[^"\\]|\\.)*)"\)')

# What a program does about a code; every code of the table has an entry.
ADVICE = {
    "pcclSuccess": "Go on.",
    "pcclNotInitialized": "Call `pcclInit` once before the first communicator call.",
    "pcclInternalError": "Report it with the text. The communicator may still be destroyed.",
    "pcclInvalidArgument": "Correct the argument that the text names. Nothing was started and nothing was changed.",
    "pcclInvalidUsage": "The text says what is missing: a connection, an equal description on all peers, a free port, a "
                        "member's place in the shared state.",
    "pcclTooFewPeers": "Go on alone, or wait until `pcclArePeersPending` says yes and call `pcclUpdateTopology`.",
    "pcclMasterConnectionFailed": "Call `pcclConnect` again, after a pause: the same object can be used.",
    "pcclRankConnectionFailed": "Check that the peers reach each other: addresses, ports, firewalls.",
    "pcclRankConnectionLost": "Read the attributes again and repeat the operation: its inputs are intact. When the text "
                              "says that this peer was removed from the run, connect again instead.",
    "pcclNoSharedStateAvailable": "Let a member that holds the content set the revision, or allow the highest one "
                                  "present to be adopted (`shared_state_adopt_highest`).",
    "pcclPendingAsyncOps": "Await the operations in flight first.",
    "pcclUpdateTopologyFailed": "Call it again. When the text says that this peer was removed from the run, connect "
                                "again instead.",
    "pcclTopologyOptimizationFailed": "The old topology stays in use; call it again at another time.",
    "pcclTimeout": "Wait again, cancel, or do something else meanwhile: the operation goes on.",
    "pcclCancelled": "The operation ended on all participants, with its inputs intact.",
    "pcclEvicted": "Destroy the communicator, or connect again as a new member. Whether the others completed what was "
                   "in flight is unknown here.",
    "pcclMismatch": "Make count, data type, operator and tag equal on all peers; the text holds both descriptions.",
    "pcclVersionMismatch": "Use builds of the same protocol version on all peers and the coordinator.",
    "pcclAccessDenied": "Check the credentials or the permissions that the text names.",
    "pcclResourceLimit": "Free memory or descriptors, or raise the limit that the text names.",
    "pcclUnsupported": "Choose what the text offers instead.",
}

HEAD = """# Result codes

<!-- Written by docs/generate_errors.py from include/pccl/result_table.h: change those, not this page. -->

Functions that can fail return one of these codes. `pcclGetErrorString` gives the general meaning of a code, and
`pcclGetLastError` the exact cause of the calling thread's last failure: the peer, the operation and the phase. In Python
the codes are the members of `pccl.Result`, and a `PCCLError` carries one as `result`.

Codes 0 to 12 are those of PCCL 1.0. Functions that 1.0 has return its codes where it has one for the situation: members
that describe an operation differently get `pcclInvalidUsage`, and a member that was removed from the run gets
`pcclRankConnectionLost` from reduces, `pcclUpdateTopologyFailed` from `pcclUpdateTopology` and `pcclInvalidUsage` from
`pcclSynchronizeSharedState`; the text tells them apart.

| code | C | Python | meaning | what to do |
| ---: | --- | --- | --- | --- |
"""


def page() -> str:
    rows = ROW.findall(TABLE.read_text(encoding="utf-8"))
    missing = [name for name, *_ in rows if name not in ADVICE]
    if not rows or missing:
        sys.exit(f"{TABLE}: no advice for {missing}" if missing else f"{TABLE}: no rows found")
    lines = [f"| {value} | `{name}` | `{python}` | {meaning} | {ADVICE[name]} |"
             for name, value, python, meaning in rows]
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.name} is out of date: run docs/generate_errors.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
