"""Compares a report of the suite with the expected results, or makes it the expected results.

    judge.py REPORT EXPECTED COUNT [--bless]

EXPECTED holds [behavior, behaviorClose] for each case. COUNT cases must have run; only these are compared, or blessed.
A FAILED behavior is never blessed. Where NON-STRICT is expected, OK will do and changes no expectation:
it is a matter of time whether an answer overtakes the close frame. Exit code 1 when anything is wrong. Runs in Python
2.7 and 3.
"""

from __future__ import print_function

import io
import json
import os
import sys
from collections import Counter


def main(report, expected, count, bless):
    results = {}
    # One server took part, unless the suite could not reach it at all.
    for cases in read(report).values():
        results = {case: [result["behavior"], result["behaviorClose"]] for case, result in cases.items()}
    known = read(expected) if os.path.exists(expected) else {}

    counts = Counter(behavior for behavior, _ in results.values())
    print("%d cases: %s" % (len(results), ", ".join("%d %s" % (counts[name], name) for name in sorted(counts))))

    if bless:
        known.update({case: result for case, result in results.items() if may_be_expected(result, known.get(case))})
        write(expected, known)
    wrong = [case for case in results if not fits(results[case], known.get(case))]
    for case in sorted(wrong, key=number):
        was = " / ".join(known[case]) if case in known else "nothing: the case is new"
        print("  %s: %s, expected %s" % (case, " / ".join(results[case]), was))
    if len(results) != count:
        print("  only %d of %d cases ran" % (len(results), count))
        return 1
    return 1 if wrong else 0


def fits(result, expected):
    return result == expected or expected and expected[0] == "NON-STRICT" and result == ["OK", expected[1]]


def may_be_expected(result, known):
    return result[0] != "FAILED" and not fits(result, known)


def read(path):
    with io.open(path, encoding="utf-8") as file:
        return json.load(file)


def write(path, results):
    lines = ['  "%s": %s' % (case, json.dumps(results[case])) for case in sorted(results, key=number)]
    with io.open(path, "w", encoding="utf-8") as file:
        file.write(u"{\n%s\n}\n" % ",\n".join(lines))


def number(case):
    return [int(part) for part in case.split(".")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "--bless" in sys.argv[4:]))
