"""What the suites of figures share: running commands, rows with goals, and the table they end in."""
import json
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODELS = ROOT / ".deps/models"
PEERS = ROOT / ".deps/peers"
PROGRAM = ROOT / "build/release/bin/pajamas"
PYTHON = ROOT / ".deps/venv/bin/python"


class Failed(Exception):
    """A command did not do what it should; its last words are the text."""


def note(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def run(command, env=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise Failed(f"{pathlib.Path(str(command[0])).name}: exit code {done.returncode}: {lines[-1][:300]}")
    return done.stdout


def pajamas(*arguments):
    return json.loads(run([PROGRAM, *arguments, "--json"]))


def guarded(name, unit, goal, measure):
    """A row of the report: {"value", "note"} of `measure`, or why there is none. `goal`: at_least or at_most."""
    note(name)
    try:
        return {"name": name, "unit": unit, **goal, **measure()}
    except (Failed, OSError, KeyError, ValueError) as error:
        return {"name": name, "unit": unit, **goal, "missing": f"{error}"}


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def table(rows):
    lines = ["| figure | value | goal | met | note |", "|---|---|---|---|---|"]
    for row in rows:
        low, high = row.get("at_least"), row.get("at_most")
        goal = f"≥ {low:g} {row['unit']}" if low is not None else f"≤ {high:g} {row['unit']}" if high is not None else ""
        if "value" in row:
            value = f"{row['value']:.3g} {row['unit']}"
            met = "" if not goal else "yes" if (row["value"] >= low if low is not None else row["value"] <= high) else "**no**"
        else:
            value, met = "not measured", "**no**" if goal else ""
        lines.append(f"| {row['name']} | {value} | {goal} | {met} | {row.get('note', row.get('missing', ''))} |")
    return "\n".join(lines) + "\n"
