"""Runs commands and waits for what is promised."""

import subprocess
import sys
import time


class Failed(AssertionError):
    """What a chapter ends with when something is not as promised."""


class Skipped(Exception):
    """Why a chapter cannot be told here."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, check=True, stdin=None, seconds=600):
    """What the command answers; what it says beside that is shown when it fails."""
    done = finish(command, stdin, seconds)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(done.args)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def warnings_of(*command, stdin=None, seconds=600):
    """What a command that succeeds says beside its answer."""
    done = finish(command, stdin, seconds)
    if done.returncode != 0:
        raise Failed(f"{' '.join(done.args)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stderr


def finish(command, stdin, seconds):
    words = [str(word) for word in command]
    return subprocess.run(words, text=True, input=stdin, capture_output=True, timeout=seconds)


def expect(holds, otherwise):
    if not holds:
        raise Failed(otherwise)


def eventually(what, ask, seconds=120):
    """Asks until the answer is neither empty nor a failure; that answer."""
    deadline = time.monotonic() + seconds
    last = "nothing"
    while time.monotonic() < deadline:
        try:
            answer = ask()
            if answer:
                return answer
            last = answer
        except Failed as failure:
            last = failure
        time.sleep(0.3)
    raise Failed(f"not within {seconds} s: {what}; at last: {last}")
