"""What came out: a table, JSON and a chart."""
import json
import os
import platform
import statistics

REFERENCES = ("floor", "floor-64")
OURS = "broker"
QUANTILES = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))


def machine():
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "kernel": platform.release(), "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "processor": models[0] if models else "unknown"}


def figures(work):
    """What is read off each result, and how it is called."""
    if work.latency:
        return QUANTILES
    return (("deliveries_per_second", ""),)


def values(results, name, field):
    return [getattr(result, field) for result in results.get(name, [])]


def number(value, work):
    if work.latency:
        return f"{value:,.0f} µs" if value >= 100 else f"{value:.1f} µs"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k"


def spread(rounds, work):
    """The median, and the least and the most of all rounds."""
    if not rounds:
        return "–"
    median = number(statistics.median(rounds), work)
    if work.latency:
        low, high = f"{min(rounds):.0f}", f"{max(rounds):.0f}"
    else:
        unit = 1e6 if statistics.median(rounds) >= 1e6 else 1e3
        digits = 2 if unit == 1e6 else 0
        low, high = f"{min(rounds) / unit:.{digits}f}", f"{max(rounds) / unit:.{digits}f}"
    return f"{median} ({low}–{high})"


def best_peer(work, results, field):
    """Who of the others has the best median."""
    medians = {
        name: statistics.median(values(results, name, field))
        for name in results if name != OURS and name not in REFERENCES and results[name]}
    if not medians:
        return None
    return (min if work.latency else max)(medians, key=medians.get)


def ratios(work, results, field, other):
    """Ours to the other's, round by round: what disturbs the machine disturbs both."""
    if not other or other not in results or OURS not in results:
        return []
    pairs = zip(values(results, OURS, field), values(results, other, field))
    return [ours / theirs for ours, theirs in pairs if theirs]


def ratio_text(rounds, name=""):
    if not rounds:
        return "–"
    text = f"{statistics.median(rounds):.2f} ({min(rounds):.2f}–{max(rounds):.2f})"
    return f"{text} {name}".strip()


def line(work, results):
    """One line for who watches the run."""
    field = figures(work)[0][0]
    shown = [
        f"{name} {number(statistics.median(values(results, name, field)), work)}"
        for name in results if results[name]]
    best = best_peer(work, results, field)
    compared = ratio_text(ratios(work, results, field, best), best or "")
    return f"{work.name}: {', '.join(shown)}; to the best peer: {compared}"


class Report:
    def __init__(self, machine, versions, outcome, left_out, seconds, batches):
        self.machine = machine
        self.versions = versions
        self.outcome = outcome
        self.left_out = left_out
        self.seconds = seconds
        self.batches = batches

    @property
    def is_complete(self):
        """Nothing was lost and nothing out of order, by nobody and in no round."""
        return all(
            result.is_complete
            for _, results in self.outcome for rounds in results.values() for result in rounds)

    def table(self):
        names = [name for name in self.versions if name != OURS]
        head = ["work", OURS, *names, "to the best peer", "to the floor"]
        rows = [head, ["---"] * len(head)]
        for work, results in self.outcome:
            for field, label in figures(work):
                best = best_peer(work, results, field)
                floor = "floor" if "floor" in results else None
                rows.append([
                    f"{work.title} {label}".strip(),
                    *(spread(values(results, name, field), work) for name in [OURS, *names]),
                    ratio_text(ratios(work, results, field, best), best or ""),
                    ratio_text(ratios(work, results, field, floor))])
        text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return f"{self._heading()}\n\n{text}\n"

    def _heading(self):
        machine = self.machine
        rounds = max(
            (len(rounds) for _, results in self.outcome for rounds in results.values()),
            default=0)
        versions = "; ".join(
            f"{name}: {version}" for name, version in self.versions.items()
            if name not in REFERENCES)
        left_out = " ".join(f"{words}." for words in self.left_out)
        losses = "Nothing was lost or out of order." if self.is_complete else \
            "**Messages were lost or out of order: the figures do not count.**"
        return (
            f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}"
            f" {machine['architecture']}. {versions}. {left_out}\n\n"
            f"Deliveries a second, or microseconds from sending to receiving; the median of up to"
            f" {rounds} rounds, with the least and the most. Ratios are ours to theirs of the same"
            f" round: more is better for deliveries, less for microseconds. {losses}"
            f" The run took {self.seconds:.0f} s.")

    def json(self):
        works = []
        for work, results in self.outcome:
            works.append({
                "name": work.name, "title": work.title, "publishers": work.publishers,
                "subscribers": work.subscribers, "size": work.size, "batch": work.batch,
                "rate": work.rate, "link": work.link, "latency": work.latency,
                "messages_per_packet_of_the_library": self.batches.get(work.name),
                "rounds": {
                    name: [result.__dict__ for result in rounds]
                    for name, rounds in results.items()}})
        return json.dumps({
            "machine": self.machine, "versions": self.versions, "seconds": self.seconds,
            "complete": self.is_complete, "left_out": self.left_out, "works": works}, indent=1) + "\n"

    def svg(self):
        import chart
        return chart.draw(self)
