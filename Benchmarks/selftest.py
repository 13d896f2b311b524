#!/usr/bin/python3
"""Shows that the guard notices what it is there for, and that the curves are drawn.

    selftest.py BROKER
"""
import contextlib
import io
import pathlib
import platform
import sys
import tempfile
import xml.dom.minidom

import guard

sys.path.insert(0, str(pathlib.Path(__file__).parent / "curves"))
import live  # noqa: E402
import run  # noqa: E402


def expected(**other):
    here = {"compiler": guard.compiler(), "architecture": platform.machine()}
    return here | {"scenarios": {"one": {"instructions": 500.0, "allocations": 0.0}}} | other


def judged(counts, document):
    """What is wrong, and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        wrong = guard.compare(counts, document)
    return wrong, printed.getvalue()


def one(instructions, allocations=0.0):
    return {"one": {"instructions": instructions, "allocations": allocations}}


def check_guard():
    assert judged(one(500.0), expected())[0] == []
    assert judged(one(520.0), expected())[0] == []
    wrong, _ = judged(one(530.0), expected())
    assert len(wrong) == 1 and '"one"' in wrong[0] and "6.0% more" in wrong[0], wrong
    wrong, _ = judged(one(500.0, allocations=1.0), expected())
    assert len(wrong) == 1 and "allocates 1.0000 times" in wrong[0], wrong
    wrong, printed = judged(one(400.0), expected())
    assert wrong == [] and "less: accept it" in printed, printed
    wrong, printed = judged(one(900.0), expected(compiler="Swift version 0"))
    assert wrong == [] and "only allocations are compared" in printed, printed
    wrong, _ = judged(one(900.0, allocations=1.0), expected(architecture="none"))
    assert len(wrong) == 1, wrong
    wrong, _ = judged({"two": one(1.0)["one"]}, expected())
    assert len(wrong) == 2 and "is new" in wrong[0] and "no scenario" in wrong[1], wrong


def check_curves(broker):
    with live.Broker(broker) as server:
        server.hold(5)
        assert len(server.held) == 5 and server.startup_seconds > 0
        report, nanoseconds = server.bench(2_000)
        assert nanoseconds > 0 and report, report
        assert server.resident_bytes() > 100_000
    points = [(10, 100.0), (100, 110.0), (1_000, 1_000.0)]
    curves = [run.curve(name, "how many", "ns", points) for name in run.PROMISES]
    results = {"machine": run.machine(), "core": curves[:3], "live": curves[3:],
               "burst": {"before": 1, "queued": 2, "after": 1}}
    with tempfile.TemporaryDirectory() as name:
        run.write(results, pathlib.Path(name))
        charts = sorted(pathlib.Path(name).glob("*.svg"))
        assert len(charts) == len(run.PROMISES), charts
        for chart in charts:
            drawn = xml.dom.minidom.parse(str(chart))
            assert len(drawn.getElementsByTagName("circle")) == len(points)
        text = (pathlib.Path(name) / "README.md").read_text()
        assert "exponent 0.50" in text and all(chart.name in text for chart in charts)


def main():
    check_guard()
    check_curves(sys.argv[1])


if __name__ == "__main__":
    main()
