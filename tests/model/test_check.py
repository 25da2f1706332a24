"""check.py itself: what it makes of Spin's words, above all that a search that was cut short never counts."""

# ctest: slow
import pathlib
import re
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check  # noqa: E402

CLEAN = """
State-vector 396 byte, depth reached 55, errors: {errors}
  2083545 states, stored
  5000000 states, matched
  474.000\ttotal actual memory usage
"""


def read(before="", errors=0):
    return check.read_search(before + CLEAN.format(errors=errors), 1.0)


def test_a_complete_search():
    result = read()
    assert (result.states, result.depth, result.megabytes, result.violation) == (2083545, 55, 474.0, "")
    assert check.read_search(CLEAN.format(errors=0).replace("2083545", "1.2e+07"), 1.0).states == 12000000


def test_a_violation_is_told():
    result = read("pan:1: assertion violated (outcome[0]==0) (at depth 27)\n", errors=1)
    assert result.violation == "assertion violated (outcome[0]==0) (at depth 27)"


@pytest.mark.parametrize("text", [
    "error: max search depth too small\n",
    "pan: reached -DMEMLIM bound\nWarning: Search not completed\n",
    "pan: out of memory\n",
])
def test_a_search_that_was_cut_short_is_no_result(text):
    with pytest.raises(check.Unusable, match="not complete"):
        read(text)


def test_a_queue_that_is_too_short_is_no_violation_of_the_protocol():
    with pytest.raises(check.Unusable, match="QUEUE"):
        read("pan:1: assertion violated (!q_full(to_member[i])) (at depth 19)\n", errors=1)


def test_output_without_numbers_is_no_result():
    with pytest.raises(check.Unusable, match="did not end"):
        check.read_search("pan: something new\n", 1.0)


def test_names_are_told_apart():
    everything = check.CONFIGURATIONS + check.MUTATIONS + check.DEEP
    assert len({configuration.name for configuration in everything}) == len(everything)
    assert check.main(["no such configuration"]) == 2


def test_every_mutation_breaks_a_rule_of_the_model():
    text = "".join(path.read_text(encoding="utf-8") for path in check.MODEL.parent.glob("*.pml"))
    for mutation in check.MUTATIONS:
        assert re.search(rf"#ifn?def {mutation.name}\n", text), mutation.name


def test_the_page_names_steps_of_the_model_and_functions_of_the_code():
    root = check.MODEL.parents[2]
    page = (root / "docs" / "internals" / "model.md").read_text(encoding="utf-8")
    model = "".join(path.read_text(encoding="utf-8") for path in check.MODEL.parent.glob("*.pml"))
    table = page.partition("| step | code |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    assert len(rows) > 10
    for steps, code in rows:
        for step in re.findall(r"`(\w+)`", steps):
            assert re.search(rf"\b{step}\b", model), step
        files = re.findall(r"`(core/[\w.]+)`", code)
        text = "".join((root / "src" / name).read_text(encoding="utf-8") for name in files)
        assert files, code
        for function in re.findall(r"`(\w+)`", code):
            assert re.search(rf"\b{function}\b", text), function
    mutations = page.partition("| mutation |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", mutations, re.MULTILINE) == [m.name for m in check.MUTATIONS]


@pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not installed")
def test_a_configuration_from_end_to_end(tmp_path, capsys):
    assert check.main(["--out", str(tmp_path), "NO_SUSPICION"]) == 0
    assert "a violation, as there must be" in capsys.readouterr().out
    lines = (tmp_path / "no_suspicion" / "steps.txt").read_text(encoding="utf-8").splitlines()
    assert any(line.endswith("gone (1 dead, 2 evicted): 1") for line in lines)
    # Where none is expected, a violation is a failure; one that is expected and does not come, too.
    unbroken = check.Configuration("unbroken", "NO_SUSPICION CRASHES=1 RESTARTS=0")
    assert not check.Checker(tmp_path).check(unbroken)
    assert "world: nothing can happen any more" in capsys.readouterr().out
    toothless = check.Configuration("toothless", "CRASHES=0 RESTARTS=0", broken=True)
    assert not check.Checker(tmp_path).check(toothless)


def test_a_model_that_does_not_compile_is_a_failure(tmp_path, capsys):
    assert not check.Checker(tmp_path).check(check.Configuration("nonsense", "OPS=nonsense"))
    assert capsys.readouterr().out.startswith("FAIL  nonsense")
