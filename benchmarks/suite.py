"""What the suites of figures share: running commands, rows with goals, and the table they end in."""
import json
import pathlib
import platform
import subprocess
import sys
import threading
import time

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


def peak_memory(command):
    """Wall seconds, the most memory that the command and its children held at once ("rss", and "anonymous" of it: not of
    files), sampled, and what it printed."""
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = {"rss": 0, "anonymous": 0}

    def tree(pid):
        yield pid
        try:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    yield from tree(int(child))
        except OSError:
            pass

    def watch():
        while process.poll() is None:
            rss = anonymous = 0
            for pid in set(tree(process.pid)):
                try:
                    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                        if line.startswith("VmRSS:"):
                            rss += int(line.split()[1]) * 1024
                        elif line.startswith("RssAnon:"):
                            anonymous += int(line.split()[1]) * 1024
                except OSError:
                    pass
            peak["rss"] = max(peak["rss"], rss)
            peak["anonymous"] = max(peak["anonymous"], anonymous)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    watcher.join()
    if process.returncode != 0:
        raise Failed((err.strip().splitlines() or ["no message"])[-1][:300])
    return time.monotonic() - start, peak, out


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
