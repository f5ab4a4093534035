"""Renders the chart with the Helm that tests use."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import yaml

HOUSE = Path(__file__).resolve().parents[2]
CHART = HOUSE / "charts" / "trivet"
RELEASE = "demo"
NAMESPACE = "databases"


@cache
def helm():
    found = subprocess.run([HOUSE / "e2e/cluster/cluster", "get", "binaries"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(found.stdout.splitlines()[-1]) / "helm"


def run(*words, values=None):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        return subprocess.run([helm(), *words, "--values", file.name], text=True, capture_output=True)


def template(values=None, release=RELEASE):
    return run("template", release, CHART, "--namespace", NAMESPACE, values=values)


def render(values=None, release=RELEASE):
    """What the chart says, as objects. Without what is in crds/."""
    done = template(values, release)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


def of_kind(things, kind):
    return [thing for thing in things if thing["kind"] == kind]


def one(things, kind, name):
    found = [thing for thing in of_kind(things, kind) if thing["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of {kind} {name}")
    return found[0]


def policies(values=None):
    """The NetworkPolicies, in the namespace where Helm would put them."""
    found = of_kind(render(values), "NetworkPolicy")
    for policy in found:
        policy["metadata"].setdefault("namespace", NAMESPACE)
    return found


def pod_specs(things):
    return {(thing["kind"], thing["metadata"]["name"]): thing["spec"]["template"]["spec"] for thing in things if "template" in thing.get("spec", {})}
