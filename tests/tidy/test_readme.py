#!/usr/bin/env python3
"""The examples that the README shows are the files that other tests run, word for word, and short."""

import pathlib
import re
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 25


class Readme(unittest.TestCase):
    def test_examples_are_the_files(self):
        text = (SOURCE / "README.md").read_text(encoding="utf-8")
        shown = re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, flags=re.DOTALL)
        self.assertEqual({name.rsplit(".", 1)[1] for name, _ in shown}, {"c", "py"})
        for name, code in shown:
            with self.subTest(example=name):
                self.assertEqual(code, (SOURCE / name).read_text(encoding="utf-8"))
                self.assertLessEqual(len(code.splitlines()), LINES_MAX)


if __name__ == "__main__":
    unittest.main()
