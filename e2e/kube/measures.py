"""The chapters that measure what is promised of a small cluster, in seconds: `make bench-operator` tells them."""

import time

from faults import kill
from tools import expect, say
from trivet import create_table, put_and_read, table

FIRST = "first"
TWELVE = "twelve"
# Each node's process so often.
ROUNDS = 2


def measured(story, what, seconds, most):
    story.figures.append((what, seconds, most))
    say(f"  {what}: {seconds:.1f} s")


def an_item_is_put_after_the_installation(story):
    """As somebody does it who tries Trivet: the image is on the machines, and nothing else is there."""
    begun = time.monotonic()
    story.trivet.install()
    story.trivet.until_ready()
    dynamodb = story.trivet.client()
    create_table(dynamodb, FIRST)
    put_and_read(dynamodb, FIRST, "key", "item")
    measured(story, "from helm install to the first PutItem", time.monotonic() - begun, 60)


def twelve_partitions_become_ready(story):
    begun = time.monotonic()
    story.trivet.apply(table(TWELVE, 12))
    story.trivet.until_ready(f"tables.trivet.dev/{TWELVE}")
    measured(story, "a table of 12 partitions is ready after kubectl apply", time.monotonic() - begun, 5)


def node_processes_are_killed_in_turn(story):
    """The longest wait of each client in each failure; of all of them the one that 99 of 100 do not exceed."""
    waits = []
    for _ in range(ROUNDS):
        for pod in story.trivet.pods("node"):
            story.load.waits.clear()
            kill(story, story.trivet.get("pod", pod["metadata"]["name"]))
            story.under_load()
            # By then nobody waits any more for what it asked in the middle of it.
            story.trivet.until_whole()
            waits += story.load.waits.values()
    measured(story, f"wait of a client when a node's process is killed, p99 of {len(waits)}", percentile(waits, 99), 3)


def percentile(values, share):
    """The smallest of the values that so many in a hundred do not exceed."""
    ordered = sorted(values)
    expect(ordered, "nothing was measured")
    return ordered[-(-len(ordered) * share // 100) - 1]


def verdicts(figures):
    return "\n".join(f"{'held' if seconds <= most else 'BROKEN':6} {what}: {seconds:.1f} s, at most {most} s" for what, seconds, most in figures)


def are_held(figures):
    return all(seconds <= most for _, seconds, most in figures)
