"""What the chart's Pods are told, parsed by the program itself: arguments.py PATH-TO-TRIVET. A flag that is not there, or a value that it does not
take, fails here, and not in a Pod that never begins."""

import os
import subprocess
import sys

from chart import pod_specs, render
from chart_test import VARIANTS

# Whoever is asked for help has parsed everything before it, and does nothing.
HELP = "--help"
# Of what Kubernetes alone knows.
SAID_LATER = "said-by-kubernetes"


def told():
    """(who, arguments) of every container that runs the program, as the chart comes and in its variants."""
    for name, values in VARIANTS.items():
        for (_, who), spec in pod_specs(render(values)).items():
            for container in spec["containers"]:
                # The toolbox has nothing to do before somebody comes.
                if "command" not in container:
                    yield f"{who}, {name}", filled(container)


def filled(container):
    words = container["args"]
    for each in container.get("env", []):
        words = [word.replace(f"$({each['name']})", each.get("value", SAID_LATER)) for word in words]
    return words


def refusal(trivet, words):
    """Why the program does not take them; nothing if it does."""
    there = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET")}
    done = subprocess.run([trivet, *words, HELP], text=True, capture_output=True, env=there)
    return done.stderr if done.returncode != 0 else ""


def main():
    trivet, = sys.argv[1:]
    pods = list(told())
    # A judge that says yes to everything would not be noticed.
    for _, words in pods:
        for wrong in ([*words, "--no-such-flag"], [*words, "no-such-verb"]):
            if not refusal(trivet, wrong):
                sys.exit(f"taken, whatever it is: {' '.join(wrong)}")
    refused = {who: why for who, words in pods if (why := refusal(trivet, words))}
    if refused or len(pods) < 2 * len(VARIANTS):
        sys.exit(f"of {len(pods)} containers: {refused}")
    print(f"{len(pods)} containers are told what the program takes")


if __name__ == "__main__":
    main()
