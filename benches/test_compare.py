"""What compare.py makes of programs' output: python3 -m unittest discover benches"""

import json
import shlex
import sys
import unittest

import compare


def program(code):
    """A command that runs this Python code."""
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


class Parsing(unittest.TestCase):
    def test_json_of_ours(self):
        said = {"version": "0.1.0", "device": "CPU", "best_images_per_second": 9.5, "median_images_per_second": 8}
        parsed = compare.parse_output("noise\n" + json.dumps(said) + "\n")
        self.assertEqual((parsed["best"], parsed["median"], parsed["said"]), (9.5, 8, "cifar-gpu 0.1.0, CPU"))

    def test_best_and_median_in_a_line(self):
        parsed = compare.parse_output("RESULT wgpu lenet5 batch=64 best=1606.1 img/s median=1243.00 img/s (best 1.0 ms)\n")
        self.assertEqual((parsed["best"], parsed["median"]), (1606.1, 1243.0))
        self.assertEqual(parsed["said"], "RESULT wgpu lenet5 batch=64")

    def test_nothing_of_the_kind(self):
        with self.assertRaises(compare.Failure):
            compare.parse_output("{}\nall is well\n")

    def test_placeholders(self):
        words = compare.fill("bench {arch} --n={batch} {other}", {"arch": "ygnet", "batch": 8})
        self.assertEqual(words, ["bench", "ygnet", "--n=8", "{other}"])


class Running(unittest.TestCase):
    def options(self, *peers, rounds="3"):
        arguments = ["--rounds", rounds, "--timeout", "20", "--ours", "ours="]
        for peer in peers:
            arguments += ["--peer", peer]
        options = compare.parse_arguments(arguments)
        options.ours = []
        return options

    def test_order_alternates(self):
        order = []
        peers = [f"{name}={program('print(%r)' % 'best=2 median=1')}" for name in "ab"]
        setting = {"arch": "lenet5", "mode": "train", "batch": 1}
        compare.measure(self.options(*peers), setting, lambda text: order.append(text.split(": ")[1]))
        self.assertEqual("".join(order), "abbaab")

    def test_a_program_that_fails_is_named_and_not_run_again(self):
        logged = []
        peers = ["bad=" + program("import sys; sys.exit('out of luck')"), "absent=/nonexistent/program"]
        runs, failures = compare.measure(self.options(*peers), {"arch": "", "mode": "", "batch": 1}, logged.append)
        self.assertEqual(runs, {"bad": [], "absent": []})
        self.assertEqual(failures["bad"], "out of luck")
        self.assertIn("/nonexistent/program", failures["absent"])
        self.assertEqual(len(logged), 2)


class Table(unittest.TestCase):
    def test_ratios_are_taken_within_rounds(self):
        runs = {
            "ours": [{"best": 12, "median": m, "said": "us"} for m in (10, 20, 30)],
            "theirs": [{"best": 9, "median": m, "said": "them"} for m in (5, 5, 30)],
            "broken": [],
        }
        table = compare.table(runs, "ours")
        self.assertIn("| ours | 20.0 (10.0–30.0) | 12.0 |  | us |", table)
        self.assertIn("| theirs | 5.0 (5.0–30.0) | 9.0 | 2.00 (1.00–4.00) | them |", table)
        self.assertIn("| broken | failed |", table)


if __name__ == "__main__":
    unittest.main()
