#!/usr/bin/python3
"""Compares what the core takes for a message with what it is known to take: counts, no times.

    guard.py BENCHMARK EXPECTED [--accept]

Runs BENCHMARK, the CoreBenchmark, under callgrind over the fixed work of each scenario, and holds
instructions and heap allocations a message against the file EXPECTED. More than the tolerance
above what is expected is an error; --accept writes what was counted into EXPECTED.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

MESSAGES = 20_000
TOLERANCE = 0.05
# Half of one allocation in a thousand messages: what grows once in a while is no leak.
ALLOCATIONS_TOLERANCE = 0.0005
ACCEPT = "make bench-guard ACCEPT=1"


def compiler():
    text = subprocess.run(["swift", "--version"], capture_output=True, text=True, check=True)
    return re.search(r"Swift version \S+", text.stdout).group(0)


def run(command):
    """Standard output and error; nothing of the environment, so that every run does the same."""
    environment = {"PATH": os.environ["PATH"], "SWIFT_DETERMINISTIC_HASHING": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return ended.stdout, ended.stderr


def count(benchmark):
    """Instructions and allocations a message, by scenario."""
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    counts = {}
    for scenario in run([benchmark, "--list"])[0].splitlines():
        output, report = run([
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
            "--collect-atstart=no", "--toggle-collect=*countedRounds*",
            benchmark, "--count", str(MESSAGES), "--only", scenario])
        messages, allocations = map(int, output.split("\t")[1:])
        instructions = int(re.search(r"Collected : (\d+)", report).group(1))
        if instructions == 0:
            sys.exit(f'"{scenario}": nothing was counted; is countedRounds there?')
        counts[scenario] = {
            "instructions": round(instructions / messages, 1),
            "allocations": round(allocations / messages, 4)}
    return counts


def judge(name, counted, expected, comparable):
    """A line for the table, and what is wrong."""
    instructions, allocations = counted["instructions"], counted["allocations"]
    change = instructions / expected["instructions"] - 1
    line = (f"{name:30}{instructions:12,.1f}{expected['instructions']:12,.1f}{change:+9.1%}"
            f"{allocations:13.4f}{expected['allocations']:10.4f}")
    wrong = []
    if comparable and change > TOLERANCE:
        wrong.append(f'"{name}" takes {instructions:,.1f} instructions a message, {change:.1%} '
                     f"more than the {expected['instructions']:,.1f} expected")
    if allocations > expected["allocations"] + ALLOCATIONS_TOLERANCE:
        wrong.append(f'"{name}" allocates {allocations:.4f} times a message, '
                     f"{expected['allocations']:.4f} were expected")
    if comparable and change < -TOLERANCE:
        line += "  less: accept it, so that it stays"
    return line, wrong


def compare(counts, expected):
    """Prints the table; what is wrong, one line each."""
    here = {"compiler": compiler(), "architecture": platform.machine()}
    comparable = all(expected[key] == value for key, value in here.items())
    if not comparable:
        print(f"The expected instructions are those of {expected['compiler']} on "
              f"{expected['architecture']}, this is {here['compiler']} on "
              f"{here['architecture']}: only allocations are compared.")
    print(f"{'':30}{'instructions a message':^33}{'allocations a message':>23}\n"
          f"{'scenario':30}{'counted':>12}{'expected':>12}{'':9}{'counted':>13}{'expected':>10}")
    wrong = []
    for name, counted in counts.items():
        if name not in expected["scenarios"]:
            wrong.append(f'"{name}" is new: nothing is expected of it yet')
            continue
        line, found = judge(name, counted, expected["scenarios"][name], comparable)
        print(line)
        wrong += found
    wrong += [f'"{name}" is expected, but no scenario any more'
              for name in expected["scenarios"] if name not in counts]
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=os.path.abspath)
    parser.add_argument("expected", type=pathlib.Path)
    parser.add_argument("--accept", action="store_true")
    options = parser.parse_args()
    counts = count(options.benchmark)
    if options.expected.exists():
        wrong = compare(counts, json.loads(options.expected.read_text()))
    else:
        wrong = [f"there is no {options.expected}"]
    if options.accept:
        document = {"compiler": compiler(), "architecture": platform.machine(),
                    "scenarios": counts}
        options.expected.write_text(json.dumps(document, indent=2) + "\n")
        print(f"Written to {options.expected}: say in the commit why.")
        return
    if wrong:
        print()
        for text in wrong:
            print(f"bench-guard: {text}")
        sys.exit(f"If this is meant: {ACCEPT}, and say why in the commit.")
    print(f"Nothing takes more than {TOLERANCE:.0%} above what is expected.")


if __name__ == "__main__":
    main()
