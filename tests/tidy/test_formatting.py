#!/usr/bin/env python3
"""All C and C++ sources have the project's format. The formatter is no package that the tests install: with
the parts of the compiler that it is made of it is larger than all the others together, and `./run lint`
installs it for who changes sources. Where it is missing the check is skipped."""

import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import formatting  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


@unittest.skipUnless(formatting.available(), f"{formatting.FORMATTER} is not installed")
class Formatting(unittest.TestCase):
    def test_this_tree_is_formatted(self):
        self.assertEqual(formatting.check(ROOT), [], "./run format repairs this")

    def test_a_bad_file_is_named_and_repaired_and_the_examples_are_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for name in ("src/a.cpp", "examples/b.c"):
                path = root / name
                path.parent.mkdir()
                path.write_text("int  x ;\n", encoding="utf-8")
            for name in (".clang-format", "examples/.clang-format"):
                shutil.copy(ROOT / name, root / name)
            found = formatting.check(root)
            self.assertEqual([line.split(":")[0] for line in found], ["src/a.cpp"])
            self.assertEqual(formatting.main([folder]), 1)
            self.assertEqual(formatting.main(["--fix", folder]), 0)
            self.assertEqual(formatting.main([folder]), 0)
            self.assertEqual((root / "src/a.cpp").read_text(encoding="utf-8"), "int x;\n")
            self.assertEqual((root / "examples/b.c").read_text(encoding="utf-8"), "int  x ;\n")


if __name__ == "__main__":
    unittest.main()
