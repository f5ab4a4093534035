"""Where a cluster keeps its things, and how this tool speaks and gives up."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What outlives a reboot; what does not; what is built once.
STATE = Path("/var/lib/trivet-cluster")
RUN = Path("/run/trivet-cluster")
CACHE = Path(os.environ.get("TRIVET_CLUSTER_CACHE", Path.home() / ".cache" / "trivet-cluster"))


@dataclass(frozen=True)
class Layout:
    """The folders and files of the cluster called `name`."""

    name: str

    @property
    def context(self):
        """In kubeconfigs; as kind calls it."""
        return f"kind-{self.name}"

    @property
    def home(self):
        return STATE / self.name

    @property
    def run(self):
        return RUN / self.name

    @property
    def machines(self):
        return self.home / "machines.json"

    @property
    def kubeconfig(self):
        return self.home / "admin.kubeconfig"

    @property
    def pki(self):
        return self.home / "pki"

    @property
    def etcd(self):
        return self.home / "etcd"

    @property
    def volumes(self):
        return self.home / "volumes"

    @property
    def logs(self):
        return self.home / "logs"


def say(text):
    print(f" • {text}", file=sys.stderr, flush=True)


def give_up(text):
    sys.exit(f"cluster: {text}")


def sh(*command, check=True, **options):
    """Runs one command to its end; what it printed is the answer, or is shown when it failed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if check and done.returncode != 0:
        give_up(f"{' '.join(words)} failed ({done.returncode}):\n{done.stdout}")
    return done.stdout


def succeeds(*command):
    words = [str(word) for word in command]
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def wait(what, ready, hint, seconds=120):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            give_up(f"{what} not there after {seconds} s; see {hint}")
        time.sleep(0.2)
