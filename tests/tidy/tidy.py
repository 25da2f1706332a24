#!/usr/bin/env python3
"""Checks the rules of the source tree that no compiler checks.

    tidy.py [ROOT]

prints one line `path:line: rule: text` for each violation and exits with 1 when there is any. A violation
that has a good reason is listed in exceptions.txt beside this file. test_tidy.py shows that each rule catches
its violation. Needs only Python's standard library.
"""

import ast
import dataclasses
import pathlib
import re
import sys

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 110

# The third column of the architecture's table: what a room may include directly. Closed transitively below.
ARROWS = {
    "base": [],
    "kernel": ["base"],
    "codec": ["kernel"],
    "plan": ["base"],
    "topology": ["plan"],
    "wire": ["base"],
    "core": ["wire", "plan", "codec", "topology", "kernel"],
    "transport": ["wire"],
    "runtime": ["core", "transport"],
    "capi": ["runtime"],
    "outer": [],
    "sim": ["core"],
    "tools": [],
}
# Rooms at the surface may include every public header; the others only those that declare no calls.
SURFACE_ROOMS = {"capi", "outer", "tools"}
PUBLIC_FOR_ALL = {"pccl/result_table.h", "pccl/version.h"}
PUBLIC_TOP = {"pccl.h", "ccoip.h", "ccoip_inet.h"}

# Libraries that belong to some rooms only.
LIBRARY_ROOMS = {
    "uv.h": {"transport", "runtime"},
    "hwy/": {"kernel", "codec"},
    "xxhash.h": {"base", "kernel"},
    "CLI/": {"tools"},
}

# Rooms that only decide: no sockets, threads, clocks, files or randomness of their own.
PURE_ROOMS = {"plan", "wire", "codec", "core", "sim"}
IMPURE_HEADERS = re.compile(
    r"^(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier|atomic|chrono|random"
    r"|fstream|iostream|filesystem|ctime|time\.h|pthread\.h|unistd\.h|fcntl\.h|poll\.h|netdb\.h|sys/.*|arpa/"
    r".*|netinet/.*|uv\.h)$")

BANNED = [
    # (rule, pattern on code without comments and strings, what to do instead, files and rooms that may)
    # Processes and their sleep are virtual in the simulator, and it is no part of the library.
    ("stdout", r"(?<![\w.>])(?:std::)?(?:printf|puts|putchar|vprintf)\s*\(|\bstdout\b|\bstd::cout\b",
     "a library does not write to stdout: use base/log.h", ()),
    ("stderr", r"\bstderr\b|\bstd::c(?:err|log)\b|(?<![\w.>])(?:std::)?perror\s*\(", "use base/log.h",
     ("src/base/check.cpp", "src/base/log.cpp")),
    ("process-end", r"(?<![\w.>])(?:std::|::)?(?:_?exit|_Exit|quick_exit|abort|terminate)\s*\(",
     "a library never ends the process: return a status, or PCCL_ASSERT for an invariant",
     ("src/base/check.cpp", "src/sim/")),
    ("assert", r"(?<!\w)assert\s*\(|<cassert>|<assert\.h>", "use PCCL_ASSERT, which stays on in release", ()),
    ("throw", r"\bthrow\b", "return a Status: no exception may cross the C interface", ()),
    ("unsafe-call",
     r"(?<![\w.>])(?:std::)?(?:strcpy|strcat|sprintf|vsprintf|gets|strtok|rand|srand|system|popen)\s*\(",
     "use a bounded or reentrant form", ()),
    ("sleep", r"\bsleep_for\b|\bsleep_until\b|(?<![\w.>])(?:u|nano)?sleep\s*\(",
     "await an event", ("src/sim/",)),
]
BANNED_EVERYWHERE = [
    ("using-namespace-std", r"\busing\s+namespace\s+std\s*;", "name what is used", ()),
]

# Rules on the plain text of every file.
LEFTOVERS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}])/(?:ro" r"ot|wo" r"rk|ho" r"me)/[\w.]|/\.pyenv/")
PLACES = re.compile(r"\b(?:pypi\.o" r"rg|deb\.debian\.o" r"rg|files\.pythonh" r"osted)|\bissues?\s+#?\d+\b",
                    re.IGNORECASE)

CODE_FOLDERS = ("src", "include", "tests", "bench", "examples", "bindings")
SKIPPED_FOLDERS = {".git", ".venv", "build", "dist", "_skbuild", "demo-out", "bench-out", "__pycache__",
                   ".mypy_cache", ".pytest_cache", ".cache", "node_modules"}
TEXT_SUFFIXES = {".h", ".c", ".cpp", ".py", ".pyi", ".txt", ".cmake", ".md", ".json", ".toml", ".in", ".sh",
                 ".map", ".pml", ".yml", ".yaml", ".cfg", ""}


RULES = {"arrow", "room", "include-path", "library", "pure", "file-length", "function-length", "line-length",
         "trailing-space", "head-comment", "header-guard", "dead-header", "leftover", "machine-path", "place",
         "exception"} | {rule for rule, *_ in BANNED + BANNED_EVERYWHERE}


@dataclasses.dataclass(frozen=True)
class Violation:
    path: str
    line: int
    rule: str
    text: str
    name: str = ""  # The function concerned, where the rule is about one.

    def __post_init__(self):
        assert self.rule in RULES, self.rule

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def closure(arrows):
    """What each room may include, its own folder and everything below it counted."""
    def reach(room, seen):
        for below in arrows[room]:
            if below not in seen:
                seen.add(below)
                reach(below, seen)
        return seen
    return {room: reach(room, {room}) for room in arrows}


REACHABLE = closure(ARROWS)


def spaces(match):
    """As many spaces as the match has characters, line breaks kept."""
    return re.sub(r"[^\n]", " ", match.group(0))


def blank(text):
    """The C or C++ text with comments, strings and characters replaced by spaces, line breaks kept."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F_])'(?:\\.|[^'\\\n])+'", re.DOTALL)
    return pattern.sub(spaces, text)


def includes(text):
    """(line number, spelling, whether in angle brackets) of each include; comments do not count."""
    without_comments = re.sub(r"/\*.*?\*/", spaces, text, flags=re.DOTALL)
    for number, line in enumerate(without_comments.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(2) is not None


def may_look_inside(path):
    """pccl-sim is the one program that is built on a room."""
    return path.startswith("src/tools/sim/") or path in ("src/tools/sim.cpp", "src/tools/pccl_sim.cpp")


def check_include(path, room, line, spelling):
    """The violations of one include of a file in src/<room>/."""
    def report(rule, text):
        return [Violation(path, line, rule, text)]

    head = spelling.split("/")[0]
    if ".." in spelling.split("/"):
        return report("include-path", f'"{spelling}": includes are relative to src')
    for library, rooms in LIBRARY_ROOMS.items():
        is_of_library = spelling == library or (library.endswith("/") and spelling.startswith(library))
        if is_of_library and room not in rooms:
            return report("library", f"<{spelling}> belongs to {', '.join(sorted(rooms))}, not to {room}")
    if room in PURE_ROOMS and IMPURE_HEADERS.match(spelling):
        return report("pure", f"<{spelling}> in {room}, which only decides: no threads, clocks, sockets")
    if spelling.startswith("pccl/") or spelling in PUBLIC_TOP:
        if room in SURFACE_ROOMS or spelling in PUBLIC_FOR_ALL:
            return []
        return report("arrow", f"{room} may not include the public header {spelling}")
    if head not in ARROWS or "/" not in spelling:
        return []
    allowed = set(REACHABLE[room])
    if room == "tools" and may_look_inside(path):
        allowed |= REACHABLE["sim"]
    if head not in allowed:
        return report("arrow", f"{room} may not include {head} ({spelling})")
    return []


def check_includes(path, text):
    parts = path.split("/")
    if parts[0] != "src" or len(parts) < 3:
        return []
    room = parts[1]
    if room not in ARROWS:
        return [Violation(path, 1, "room", f"src/{room} is not a room of the architecture")]
    found = []
    for line, spelling, angled in includes(text):
        found += check_include(path, room, line, spelling)
        if room != "tools" and not angled and "/" not in spelling and spelling not in PUBLIC_TOP:
            found.append(Violation(path, line, "include-path", f'"{spelling}": includes are relative to src'))
    return found


def check_banned(path, code):
    parts = path.split("/")
    rules = list(BANNED_EVERYWHERE)
    if parts[0] == "src" and len(parts) >= 3 and parts[1] != "tools":
        rules += BANNED
    found = []
    for rule, pattern, advice, exempt in rules:
        if path.startswith(exempt):
            continue
        for number, line in enumerate(code.splitlines(), 1):
            if re.search(pattern, line):
                found.append(Violation(path, number, rule, advice))
    return found


def blank_preprocessor(code):
    """Directives replaced by spaces, continued lines included."""
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", spaces, code, flags=re.MULTILINE)


NOT_A_FUNCTION = re.compile(
    r"^\s*(?:inline\s+)?(?:namespace\b|extern\b(?!.*\()|(?:typedef\s+)?(?:class|struct|union|enum)\b"
    r"(?!.*\)\s*(?:const\b|noexcept\b|override\b|->|$)))", re.DOTALL)


def function_name(head):
    """A name for the function whose text before `{` is `head`."""
    head = re.sub(r"\s+", " ", head).strip()
    match = re.search(r"([~\w:]+|operator\s*\S+)\s*\(", head)
    return match.group(1) if match else head[-40:]


def functions(text):
    """(first line, last line, name) of each function body at namespace or class scope of a C or C++ text."""
    original, code = text, blank_preprocessor(blank(text))
    depth_of_function, stack, since = None, [], 0
    for match in re.finditer(r"[{};]", code):
        at, mark = match.start(), match.group(0)
        if mark == "{":
            head = code[since:at]
            is_function = (depth_of_function is None and "(" in head and not head.rstrip().endswith("=")
                           and not NOT_A_FUNCTION.match(head.lstrip()))
            if is_function:
                depth_of_function = len(stack)
                name = function_name(original[since:at] if "TEST_CASE" in head else head)
            stack.append((at, name if is_function else ""))
        elif mark == "}" and stack:
            opened, opened_name = stack.pop()
            if depth_of_function == len(stack):
                depth_of_function = None
                yield code.count("\n", 0, opened) + 1, code.count("\n", 0, at) + 1, opened_name
        since = at + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno, node.name


def check_lines(path, text):
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS_MAX:
            found.append(Violation(path, number, "line-length",
                                   f"{len(line)} columns, more than {COLUMNS_MAX}"))
        if line != line.rstrip():
            found.append(Violation(path, number, "trailing-space", "white space at the end of the line"))
    return found


def check_sizes(path, text):
    found = []
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        excess = f"{lines} lines, more than {FILE_LINES_MAX}"
        found.append(Violation(path, FILE_LINES_MAX, "file-length", excess))
    for first, last, name in python_functions(text) if path.endswith(".py") else functions(text):
        length = last - first + 1
        if length > FUNCTION_LINES_MAX:
            found.append(Violation(path, first, "function-length",
                                   f"{name} has {length} lines, more than {FUNCTION_LINES_MAX}", name))
    return found


def check_header(path, text):
    """Each header begins with a comment on its purpose and guards itself."""
    found = []
    if not text.lstrip().startswith(("//", "/*")):
        found.append(Violation(path, 1, "head-comment",
                               "a header begins with a comment: purpose, threads, invariants"))
    guard = r"^\s*#\s*(?:pragma once|ifndef \w+_H\b|if defined\((?:HIGHWAY_HWY|PCCL)_\w+)"
    if not re.search(guard, text, re.MULTILINE):
        found.append(Violation(path, 1, "header-guard", "no #pragma once and no include guard"))
    return found


def check_text(path, text):
    found = []
    if path.startswith("tests/tidy/"):
        return found
    for number, line in enumerate(text.splitlines(), 1):
        for rule, pattern, advice in (
                ("leftover", LEFTOVERS, "unfinished work is tracked elsewhere, not in the sources"),
                ("machine-path", MACHINE_PATHS, "a path of one machine"),
                ("place", PLACES, "the text speaks of the project alone")):
            match = pattern.search(line)
            if match:
                found.append(Violation(path, number, rule, f"'{match.group(0)}': {advice}"))
    return found


def check_dead_headers(files):
    """A header of a room that nobody includes is dead."""
    included = set()
    for path, text in files.items():
        folder = path.rpartition("/")[0]
        for _, spelling, _ in includes(text) if path.endswith((".h", ".c", ".cpp")) else ():
            included |= {f"src/{spelling}", f"src/tools/{spelling}", f"{folder}/{spelling}"}
    return [Violation(path, 1, "dead-header", "nothing includes this header") for path in files
            if path.startswith("src/") and path.endswith(".h") and path not in included]


def check_files(files):
    """All violations in `files`, a map of path (relative to the root, with /) to text."""
    found = []
    for path in sorted(files):
        text = files[path]
        found += check_text(path, text)
        top = path.split("/")[0]
        is_native = path.endswith((".h", ".c", ".cpp"))
        is_build_file = path.endswith(("CMakeLists.txt", ".cmake", ".cmake.in")) or path in ("run", ".ci/run")
        if is_build_file or (top in CODE_FOLDERS and path.endswith((".h", ".c", ".cpp", ".py", ".pyi"))):
            found += check_lines(path, text)
        if top in CODE_FOLDERS and (is_native or path.endswith(".py")):
            found += check_sizes(path, text)
        if top in CODE_FOLDERS and is_native:
            found += check_includes(path, text)
            found += check_banned(path, blank(text))
        if top in ("src", "include") and path.endswith(".h"):
            found += check_header(path, text)
    return found + check_dead_headers(files)


@dataclasses.dataclass
class Exception_:
    rule: str
    path: str
    name: str
    line: int
    used: bool = False


def read_exceptions(text, path):
    """Lines `rule path[#function]: reason`; returns the exceptions and the violations of that form."""
    exceptions, found = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.match(r"([\w-]+) ([^\s:#]+)(?:#([^\s]+))?: (\S.*)$", line)
        if not match or len(match.group(4).split()) < 3:
            found.append(Violation(path, number, "exception", "the form is `rule path[#function]: reason`"))
        else:
            exceptions.append(Exception_(match.group(1), match.group(2), match.group(3) or "", number))
    return exceptions, found


def apply_exceptions(violations, exceptions, path):
    """The violations that no exception allows, and one for each exception that allows nothing any more."""
    left = []
    for violation in violations:
        allowed = [exception for exception in exceptions
                   if (exception.rule, exception.path) == (violation.rule, violation.path)
                   and exception.name in ("", violation.name)]
        for exception in allowed:
            exception.used = True
        if not allowed:
            left.append(violation)
    stale = [Violation(path, exception.line, "exception", f"{exception.rule} {exception.path}: not needed")
             for exception in exceptions if not exception.used]
    return left + stale


def read_tree(root):
    files = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS & set(relative.parts) or ".egg-info" in str(relative):
            continue
        if path.suffix not in TEXT_SUFFIXES or path.is_symlink() or not path.is_file():
            continue
        try:
            files[relative.as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return files


def main(arguments):
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parents[2]).resolve()
    exceptions_path = "tests/tidy/exceptions.txt"
    files = read_tree(root)
    exceptions, violations = read_exceptions(files.get(exceptions_path, ""), exceptions_path)
    violations += apply_exceptions(check_files(files), exceptions, exceptions_path)
    for violation in violations:
        print(violation)
    print(f"tidy: {len(files)} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
