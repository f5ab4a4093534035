"""What is planned is not to be seen by clients: no router answers that it failed, though an SDK would hide that by asking again."""

import contextlib
import functools
import threading

from tools import Failed, expect

FAMILY = "trivet_router_answers_total{"
FAILURE = 'outcome="service_error"'
# A router that ends takes with it what it counted since.
LOOK_EVERY_S = 2


def planned(chapter):
    """A chapter about what people do on purpose."""
    @functools.wraps(chapter)
    def told(story):
        answers = Answers(story.trivet)
        before = answers.failed()
        with answers:
            chapter(story)
        expect(answers.failed() == before, f"routers failed {answers.failed() - before} requests while nothing failed")
    return told


class Answers:
    """How many requests all routers failed so far, those that have ended included."""

    def __init__(self, trivet):
        self.trivet = trivet
        self.counts = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.look()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_failure):
        self.ended.set()
        self.thread.join()
        self.look()

    def failed(self):
        return sum(self.counts.values())

    def watch(self):
        while not self.ended.wait(LOOK_EVERY_S):
            self.look()

    def look(self):
        """One that has no answer is about to begin, or to end."""
        for pod in self.trivet.pods("router"):
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            with contextlib.suppress(Failed):
                self.counts[uid] = failures(self.trivet.metrics(name))


def failures(metrics):
    """Answers of 500 and above, in the text of a router's metrics."""
    lines = (line for line in metrics.splitlines() if line.startswith(FAMILY) and FAILURE in line)
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)
