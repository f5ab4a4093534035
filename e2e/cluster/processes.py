"""Long-lived processes: started apart from this one, known again by number and birth, ended one by one."""

import os
import signal
import subprocess
from pathlib import Path

from layout import wait


class Processes:
    """The processes of one cluster, each under the name of its role."""

    def __init__(self, layout):
        self.pids = layout.run / "pids"
        self.logs = layout.logs

    def start(self, role, *command):
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with open(self.logs / f"{role}.log", "ab") as log:
            words = [str(word) for word in command]
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
        (self.pids / role).write_text(f"{child.pid} {birth(child.pid)}")

    def pid(self, role):
        """The role's process, if it still is the one that was started: a number may have passed to a stranger."""
        try:
            pid, born = (self.pids / role).read_text().split()
            return int(pid) if birth(pid) == born else None
        except (FileNotFoundError, ValueError):
            return None

    def stop(self, role):
        pid = self.pid(role)
        if pid:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        (self.pids / role).unlink(missing_ok=True)

    def end(self, role, seconds):
        """Asks first, and waits for the goodbye."""
        pid = self.pid(role)
        if pid:
            os.kill(pid, signal.SIGTERM)
            wait(f"the end of {role}", lambda: self.pid(role) is None, self.logs, seconds)
        (self.pids / role).unlink(missing_ok=True)

    def roles(self):
        return sorted(path.name for path in self.pids.glob("*"))


def birth(pid):
    """When a process began, with the boot it began in: with its number, this names it for good."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + stat[19]
