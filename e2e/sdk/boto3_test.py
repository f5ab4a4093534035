"""boto3 against a running Trivet: what a user of DynamoDB does in a day, over tables that really have partitions."""

import os
import unittest
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import Binary
from botocore.config import Config
from botocore.exceptions import ClientError

PARTITIONS = 5


def client(**options):
    config = Config(retries={"max_attempts": 3, "mode": "standard"})
    return boto3.client("dynamodb", endpoint_url=os.environ["TRIVET_ENDPOINT"], config=config, **options)


def resource():
    return boto3.resource("dynamodb", endpoint_url=os.environ["TRIVET_ENDPOINT"])


def create(name, sort=True, partitions=PARTITIONS):
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}]
    attributes = [{"AttributeName": "pk", "AttributeType": "S"}]
    if sort:
        keys.append({"AttributeName": "sk", "KeyType": "RANGE"})
        attributes.append({"AttributeName": "sk", "AttributeType": "N"})
    client().create_table(
        TableName=name,
        KeySchema=keys,
        AttributeDefinitions=attributes,
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "trivet.dev/partitions", "Value": str(partitions)}],
    )
    client().get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return resource().Table(name)


class Tables(unittest.TestCase):
    def test_a_table_lives_and_dies(self):
        table = create("life")
        described = client().describe_table(TableName="life")["Table"]
        self.assertEqual(described["TableStatus"], "ACTIVE")
        self.assertEqual(described["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST")
        self.assertIn("life", client().list_tables()["TableNames"])
        with self.assertRaises(client().exceptions.ResourceInUseException):
            create("life")
        client().update_table(
            TableName="life", BillingMode="PROVISIONED", ProvisionedThroughput={"ReadCapacityUnits": 7, "WriteCapacityUnits": 5}
        )
        client().get_waiter("table_exists").wait(TableName="life", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        throughput = client().describe_table(TableName="life")["Table"]["ProvisionedThroughput"]
        self.assertEqual((throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]), (7, 5))
        table.delete()
        client().get_waiter("table_not_exists").wait(TableName="life", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        with self.assertRaises(client().exceptions.ResourceNotFoundException):
            client().describe_table(TableName="life")
        create("life")
        self.assertEqual(resource().Table("life").scan()["Items"], [])
        resource().Table("life").delete()

    def test_names_come_in_pages(self):
        for number in range(5):
            create(f"page-{number}", partitions=1)
        pages = client().get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 2})
        names = [name for page in pages for name in page["TableNames"]]
        self.assertEqual(names, sorted(names))
        self.assertEqual(len([name for name in names if name.startswith("page-")]), 5)
        for number in range(5):
            client().delete_table(TableName=f"page-{number}")

    def test_an_unknown_table_is_not_found(self):
        with self.assertRaises(client().exceptions.ResourceNotFoundException) as caught:
            client().get_item(TableName="nothing", Key={"pk": {"S": "a"}})
        self.assertEqual(caught.exception.response["Error"]["Message"], "Requested resource not found")

    def test_parts_that_are_not_there_yet_are_refused(self):
        with self.assertRaises(ClientError) as caught:
            client().create_table(
                TableName="streamed",
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            )
        self.assertEqual(caught.exception.response["Error"]["Code"], "ValidationException")
        with self.assertRaises(ClientError) as caught:
            client().create_backup(TableName="streamed", BackupName="before")
        self.assertEqual(caught.exception.response["Error"]["Code"], "UnknownOperationException")


class Items(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.table = create("items")

    @classmethod
    def tearDownClass(cls):
        cls.table.delete()

    def test_every_type_comes_back_as_it_went(self):
        item = {
            "pk": "types",
            "sk": Decimal("-1.5E-10"),
            "number": Decimal("12345678901234567890123456789012345678"),
            "binary": Binary(bytes(range(256))),
            "strings": {"b", "a", "é"},
            "numbers": {Decimal(1), Decimal("2.5")},
            "binaries": {Binary(b"x"), Binary(b"y")},
            "list": ["a", Decimal(1), None, True, {"deep": [False]}],
            "map": {"": "empty name is fine in a map", "x": {"y": {"z": "end"}}},
            "null": None,
            "empty": "",
        }
        self.table.put_item(Item=item)
        got = self.table.get_item(Key={"pk": "types", "sk": item["sk"]}, ConsistentRead=True)["Item"]
        self.assertEqual(got, item)

    def test_conditions_and_return_values(self):
        key = {"pk": "cond", "sk": 1}
        self.table.put_item(Item={**key, "v": 1}, ConditionExpression=Attr("pk").not_exists())
        with self.assertRaises(ClientError) as caught:
            self.table.put_item(
                Item={**key, "v": 2},
                ConditionExpression=Attr("v").eq(7),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        self.assertEqual(caught.exception.response["Error"]["Code"], "ConditionalCheckFailedException")
        self.assertEqual(caught.exception.response["Item"]["v"], {"N": "1"})
        answer = self.table.update_item(
            Key=key,
            UpdateExpression="SET #v = #v + :one REMOVE gone ADD seen :set",
            ConditionExpression="#v = :one",
            ExpressionAttributeNames={"#v": "v"},
            ExpressionAttributeValues={":one": 1, ":set": {"a"}},
            ReturnValues="UPDATED_NEW",
        )
        self.assertEqual(answer["Attributes"], {"v": 2, "seen": {"a"}})
        old = self.table.delete_item(Key=key, ReturnValues="ALL_OLD")["Attributes"]
        self.assertEqual(old["v"], 2)
        self.assertNotIn("Item", self.table.get_item(Key=key, ConsistentRead=True))

    def test_consumed_capacity_is_exact(self):
        key = {"pk": "units", "sk": 1}
        put = self.table.put_item(Item={**key, "v": "x" * 2000}, ReturnConsumedCapacity="TOTAL")
        self.assertEqual(put["ConsumedCapacity"]["CapacityUnits"], 2.0)
        strong = self.table.get_item(Key=key, ConsistentRead=True, ReturnConsumedCapacity="TOTAL")
        self.assertEqual(strong["ConsumedCapacity"]["CapacityUnits"], 1.0)
        eventual = self.table.get_item(Key=key, ReturnConsumedCapacity="TOTAL")
        self.assertEqual(eventual["ConsumedCapacity"]["CapacityUnits"], 0.5)

    def test_an_item_of_400_kb_passes_and_a_byte_more_does_not(self):
        room = 400 * 1024 - len("pk") - len("big") - len("sk") - 2 - len("v")
        self.table.put_item(Item={"pk": "big", "sk": 1, "v": "x" * room})
        with self.assertRaises(ClientError) as caught:
            self.table.put_item(Item={"pk": "big", "sk": 2, "v": "x" * (room + 1)})
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], "ValidationException")
        self.assertEqual(error["Message"], "Item size has exceeded the maximum allowed size")


class Reads(unittest.TestCase):
    """A table whose collections and pages cross partitions."""

    @classmethod
    def setUpClass(cls):
        cls.table = create("reads")
        with cls.table.batch_writer() as batch:
            for artist in range(20):
                for song in range(30):
                    batch.put_item(Item={"pk": f"artist-{artist}", "sk": song, "even": song % 2 == 0, "pad": "x" * 200})

    @classmethod
    def tearDownClass(cls):
        cls.table.delete()

    def pages(self, call, **arguments):
        items, pages = [], 0
        while True:
            answer = call(**arguments)
            pages += 1
            items.extend(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return items, pages
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def test_query_goes_in_sort_order_both_ways_in_pages(self):
        condition = Key("pk").eq("artist-7") & Key("sk").between(5, 24)
        items, pages = self.pages(self.table.query, KeyConditionExpression=condition, Limit=6, ConsistentRead=True)
        self.assertEqual([int(item["sk"]) for item in items], list(range(5, 25)))
        self.assertEqual(pages, 4)
        back, _ = self.pages(self.table.query, KeyConditionExpression=condition, Limit=7, ScanIndexForward=False)
        self.assertEqual([int(item["sk"]) for item in back], list(range(24, 4, -1)))

    def test_query_filters_projects_and_counts(self):
        answer = self.table.query(
            KeyConditionExpression=Key("pk").eq("artist-3"),
            FilterExpression=Attr("even").eq(True),
            ProjectionExpression="sk",
        )
        self.assertEqual((answer["Count"], answer["ScannedCount"]), (15, 30))
        self.assertEqual(answer["Items"][0], {"sk": 0})
        count = self.table.query(KeyConditionExpression=Key("pk").eq("artist-3"), Select="COUNT")
        self.assertEqual(count["Count"], 30)
        self.assertNotIn("Items", count)

    def test_scan_sees_every_item_once_whatever_the_page_and_the_segments(self):
        expected = {(f"artist-{artist}", song) for artist in range(20) for song in range(30)}
        whole, _ = self.pages(self.table.scan, ConsistentRead=True)
        self.assertEqual(sorted((item["pk"], int(item["sk"])) for item in whole), sorted(expected))
        paged, pages = self.pages(self.table.scan, Limit=37)
        self.assertEqual(sorted((item["pk"], int(item["sk"])) for item in paged), sorted(expected))
        self.assertGreaterEqual(pages, 600 // 37)
        parallel = []
        for segment in range(7):
            items, _ = self.pages(self.table.scan, Segment=segment, TotalSegments=7)
            parallel.extend(items)
        self.assertEqual(sorted((item["pk"], int(item["sk"])) for item in parallel), sorted(expected))

    def test_batches_cross_partitions(self):
        keys = [{"pk": f"artist-{number}", "sk": number} for number in range(20)] + [{"pk": "nobody", "sk": 1}]
        answer = resource().batch_get_item(RequestItems={"reads": {"Keys": keys, "ConsistentRead": True}})
        self.assertEqual(len(answer["Responses"]["reads"]), 20)
        self.assertEqual(answer["UnprocessedKeys"], {})

    def test_pages_end_at_a_megabyte(self):
        table = create("megabyte", partitions=3)
        for number in range(12):
            table.put_item(Item={"pk": "one", "sk": number, "v": "x" * 200_000})
        first = table.query(KeyConditionExpression=Key("pk").eq("one"), ConsistentRead=True)
        self.assertEqual(first["Count"], 6)
        items, _ = self.pages(table.query, KeyConditionExpression=Key("pk").eq("one"), ConsistentRead=True)
        self.assertEqual(len(items), 12)
        table.delete()


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.table = create("refusals", sort=False, partitions=2)

    @classmethod
    def tearDownClass(cls):
        cls.table.delete()

    def refused(self, code, message, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code)
        self.assertIn(message, error["Message"])

    def test_wrong_keys(self):
        self.refused(
            "ValidationException", "The provided key element does not match the schema",
            client().get_item, TableName="refusals", Key={"other": {"S": "a"}},
        )
        self.refused(
            "ValidationException", "Type mismatch for key pk expected: S actual: N",
            client().put_item, TableName="refusals", Item={"pk": {"N": "1"}},
        )
        self.refused(
            "ValidationException", "Missing the key pk in the item",
            client().put_item, TableName="refusals", Item={"v": {"N": "1"}},
        )

    def test_wrong_expressions(self):
        self.refused(
            "ValidationException", "Invalid UpdateExpression: Syntax error",
            client().update_item, TableName="refusals", Key={"pk": {"S": "a"}}, UpdateExpression="SET",
        )
        self.refused(
            "ValidationException", "Value provided in ExpressionAttributeValues unused in expressions: keys: {:b}",
            client().update_item, TableName="refusals", Key={"pk": {"S": "a"}}, UpdateExpression="SET a = :a",
            ExpressionAttributeValues={":a": {"S": "x"}, ":b": {"S": "y"}},
        )

    def test_wrong_numbers_and_sets(self):
        self.refused(
            "ValidationException", "The parameter cannot be converted to a numeric value",
            client().put_item, TableName="refusals", Item={"pk": {"S": "a"}, "n": {"N": "ten"}},
        )
        self.refused(
            "ValidationException", "Number overflow",
            client().put_item, TableName="refusals", Item={"pk": {"S": "a"}, "n": {"N": "1E126"}},
        )
        self.refused(
            "ValidationException", "contains duplicates",
            client().put_item, TableName="refusals", Item={"pk": {"S": "a"}, "s": {"SS": ["x", "x"]}},
        )

    def test_a_wrong_secret(self):
        stranger = client(aws_access_key_id="local", aws_secret_access_key="wrong")
        self.refused("InvalidSignatureException", "The request signature we calculated", stranger.list_tables)
        nobody = client(aws_access_key_id="nobody", aws_secret_access_key="wrong")
        self.refused("UnrecognizedClientException", "The security token included in the request is invalid", nobody.list_tables)


if __name__ == "__main__":
    unittest.main()
