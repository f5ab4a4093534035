"""Clients that write and read all the time, and remember what they were promised."""

import itertools
import threading
import time
from dataclasses import dataclass, field

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools import expect

# Retries are the SDK's own. A Kubernetes node without power answers nothing at all, and a NodePort goes on to send connections there for a
# while: who waits for it does not wait the minute that is the SDK's default.
OPTIONS = Config(connect_timeout=1, read_timeout=2)


def client(endpoint, credentials, config=OPTIONS):
    return boto3.client("dynamodb", endpoint_url=endpoint, region_name="us-east-1", config=config, aws_access_key_id=credentials[0],
                        aws_secret_access_key=credentials[1])


@dataclass
class Promise:
    """Of one key: the highest number that was acknowledged, and the highest that was sent."""

    acknowledged: int = 0
    sent: int = 0


@dataclass
class Load:
    """Each writer owns its keys and counts up in them, one write after the other, reading every one back."""

    endpoint: str
    credentials: tuple
    table: str
    writers: int = 4
    config: Config = OPTIONS
    # What the keys begin with: two loads of one table must not own the same.
    prefix: str = ""
    keys_per_writer: int = 16
    # Between one write and the next.
    pause_s: float = 0.0
    promises: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)
    answered: int = 0
    longest_wait_s: float = 0.0
    # Of each writer, since somebody began anew.
    waits: dict = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self):
        """Also again, after an end."""
        self.stopping.clear()
        dynamodb = client(self.endpoint, self.credentials, self.config.merge(Config(max_pool_connections=self.writers)))
        self.threads = [threading.Thread(target=self.write, args=(dynamodb, number)) for number in range(self.writers)]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def write(self, dynamodb, writer):
        keys = [f"{self.prefix}{writer}-{key}" for key in range(self.keys_per_writer)]
        for key in keys:
            self.promises.setdefault(key, Promise())
        for key in itertools.cycle(keys):
            if self.stopping.wait(self.pause_s):
                return
            begun = time.monotonic()
            promise = self.promises[key]
            promise.sent += 1
            try:
                self.put(dynamodb, key, promise.sent)
                there = self.number(dynamodb, key)
                if there == promise.sent:
                    promise.acknowledged = promise.sent
                    self.answered += 1
                else:
                    self.errors.append(f"wrote {promise.sent} to {key} and read {there}")
            except (BotoCoreError, ClientError) as failure:
                self.errors.append(f"{key}: {failure}")
            waited_s = time.monotonic() - begun
            self.longest_wait_s = max(self.longest_wait_s, waited_s)
            self.waits[writer] = max(self.waits.get(writer, 0.0), waited_s)

    def put(self, dynamodb, key, number):
        """Upwards only: a try that the SDK gave up waiting for may arrive late, and must not undo the next write. It may also have been
        written, and its repetition is refused then; what is read afterwards tells."""
        values = {":n": {"N": str(number)}}
        try:
            dynamodb.put_item(TableName=self.table, Item={"pk": {"S": key}, "n": {"N": str(number)}},
                              ConditionExpression="attribute_not_exists(pk) OR n < :n", ExpressionAttributeValues=values)
        except dynamodb.exceptions.ConditionalCheckFailedException:
            pass

    def number(self, dynamodb, key):
        item = dynamodb.get_item(TableName=self.table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        return int(item["n"]["N"]) if item else 0

    def until_answered(self, more, seconds=120):
        """Until the clients have got so many answers more."""
        goal, deadline = self.answered + more, time.monotonic() + seconds
        while self.answered < goal:
            expect(time.monotonic() < deadline, f"{self.answered} answers, {goal} wished for; errors: {self.errors[-5:]}")
            time.sleep(0.05)

    def check(self, dynamodb):
        """Nothing that was acknowledged is lost, and nothing is there that nobody sent. Writers may go on meanwhile."""
        for key, promise in list(self.promises.items()):
            acknowledged = promise.acknowledged
            there = self.number(dynamodb, key)
            expect(acknowledged <= there <= promise.sent, f"{key} is {there}; acknowledged {acknowledged}, sent {promise.sent}")
