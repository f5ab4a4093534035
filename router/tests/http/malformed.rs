//! Malformed requests: each gets DynamoDB's own error, in DynamoDB's order of checks.

use crate::harness::{Server, with_music};

fn put(attribute: &str) -> String {
    format!(r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"x":{attribute}}}}}"#)
}

#[tokio::test]
async fn wrong_json_types_are_told_as_java_sees_them() {
    let server = Server::open().await;
    let structure = "Start of structure or map found where not expected";
    for (operation, body, sentence) in [
        ("ListTables", r#"{"ExclusiveStartTableName":23}"#, "NUMBER_VALUE cannot be converted to String"),
        ("ListTables", r#"{"ExclusiveStartTableName":1.5}"#, "DECIMAL_VALUE cannot be converted to String"),
        ("ListTables", r#"{"ExclusiveStartTableName":true}"#, "TRUE_VALUE cannot be converted to String"),
        ("ListTables", r#"{"ExclusiveStartTableName":false}"#, "FALSE_VALUE cannot be converted to String"),
        ("ListTables", r#"{"ExclusiveStartTableName":[]}"#, "Unrecognized collection type class java.lang.String"),
        ("ListTables", r#"{"ExclusiveStartTableName":{}}"#, structure),
        ("ListTables", r#"{"Limit":"1"}"#, "STRING_VALUE cannot be converted to Integer"),
        ("ListTables", r#"{"Limit":true}"#, "TRUE_VALUE cannot be converted to Integer"),
        ("ListTables", r#"{"Limit":[]}"#, "Unrecognized collection type class java.lang.Integer"),
        ("GetItem", r#"{"ConsistentRead":1}"#, "NUMBER_VALUE cannot be converted to Boolean"),
        ("GetItem", r#"{"ConsistentRead":"maybe"}"#, "Unexpected token received from parser"),
        ("GetItem", r#"{"Key":"a"}"#, "Unexpected field type"),
        (
            "GetItem",
            r#"{"Key":[]}"#,
            "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>",
        ),
        ("GetItem", r#"{"Key":{"a":"b"}}"#, "Unexpected value type in payload"),
        (
            "GetItem",
            r#"{"Key":{"a":[]}}"#,
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue",
        ),
        (
            "GetItem",
            r#"{"ExpressionAttributeNames":[]}"#,
            "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>",
        ),
        ("CreateTable", r#"{"KeySchema":{}}"#, structure),
        ("CreateTable", r#"{"KeySchema":"HASH"}"#, "Unexpected field type"),
        ("CreateTable", r#"{"KeySchema":["HASH"]}"#, "Unexpected value type in payload"),
        (
            "CreateTable",
            r#"{"KeySchema":[[]]}"#,
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.KeySchemaElement",
        ),
        ("CreateTable", r#"{"ProvisionedThroughput":5}"#, "Unexpected field type"),
        (
            "CreateTable",
            r#"{"ProvisionedThroughput":{"ReadCapacityUnits":"5"}}"#,
            "STRING_VALUE cannot be converted to Long",
        ),
        (
            "BatchWriteItem",
            r#"{"RequestItems":[]}"#,
            "Unrecognized collection type java.util.Map<java.lang.String, java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>",
        ),
    ] {
        server.expect_unserializable(operation, body, sentence).await;
    }
}

#[tokio::test]
async fn wrong_json_types_within_values_are_told() {
    let server = with_music().await;
    for (attribute, sentence) in [
        (r#"{"S":1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"N":1}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"N":1.5}"#, "DECIMAL_VALUE cannot be converted to String"),
        (r#"{"B":5}"#, "only base-64-encoded strings are convertible to bytes"),
        (r#"{"B":[]}"#, "Unrecognized collection type class java.nio.ByteBuffer"),
        (r#"{"B":"abc"}"#, "Base64 encoded length is expected a multiple of 4 bytes but found: 3"),
        (r#"{"B":"=+/="}"#, "Invalid base 64 character: '='"),
        (r#"{"B":"+f=="}"#, "Invalid last non-pad Base64 character dectected"),
        (r#"{"BOOL":1}"#, "NUMBER_VALUE cannot be converted to Boolean"),
        (r#"{"BOOL":"x"}"#, "Unexpected token received from parser"),
        (r#"{"NULL":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"SS":"a"}"#, "Unexpected field type"),
        (r#"{"SS":[1]}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"NS":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"L":{}}"#, "Start of structure or map found where not expected"),
        (r#"{"L":["a"]}"#, "Unexpected value type in payload"),
        (r#"{"M":"a"}"#, "Unexpected field type"),
        (r#"{"M":{"a":{"M":{"b":{"S":[]}}}}}"#, "Unrecognized collection type class java.lang.String"),
    ] {
        server.expect_unserializable("PutItem", &put(attribute), sentence).await;
    }
}

#[tokio::test]
async fn values_that_are_not_valid_are_refused() {
    let server = with_music().await;
    let digits = "1".repeat(39);
    let empty = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
    let more =
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
    for (attribute, sentence) in [
        ("{}", empty),
        ("null", empty),
        (r#"{"S":null}"#, empty),
        (r#"{"X":"a"}"#, empty),
        (r#"{"L":[{"S":"a"},{}]}"#, empty),
        (r#"{"S":"a","N":"1"}"#, more),
        (r#"{"M":{"a":{"BOOL":true,"NULL":true}}}"#, more),
        (
            r#"{"NULL":false}"#,
            "One or more parameter values were invalid: Null attribute value types must have the value of true",
        ),
        (r#"{"SS":[]}"#, "One or more parameter values were invalid: An string set  may not be empty"),
        (r#"{"NS":[]}"#, "One or more parameter values were invalid: An number set  may not be empty"),
        (r#"{"BS":[]}"#, "One or more parameter values were invalid: Binary sets should not be empty"),
        (
            r#"{"SS":["b","a","b"]}"#,
            "One or more parameter values were invalid: Input collection [b, a, b] contains duplicates.",
        ),
        (r#"{"NS":["1","1.0"]}"#, "Input collection contains duplicates"),
        (
            r#"{"BS":["AA==","AA=="]}"#,
            "One or more parameter values were invalid: Input collection [AA==, AA==]of type BS contains duplicates.",
        ),
        (r#"{"N":""}"#, "The parameter cannot be converted to a numeric value"),
        (r#"{"N":"b"}"#, "The parameter cannot be converted to a numeric value: b"),
        (r#"{"NS":["1","b"]}"#, "The parameter cannot be converted to a numeric value: b"),
        (
            r#"{"N":"1e126"}"#,
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ),
        (
            r#"{"N":"-1e-131"}"#,
            "Number underflow. Attempting to store a number with magnitude smaller than supported range",
        ),
        (&format!(r#"{{"N":"{digits}"}}"#), "Attempting to store more than 38 significant digits in a Number"),
    ] {
        server.expect_invalid("PutItem", &put(attribute), sentence).await;
    }
}

#[tokio::test]
async fn nesting_ends_at_thirty_two_levels() {
    let server = with_music().await;
    let nested = |levels: usize| format!("{}{{\"S\":\"x\"}}{}", "{\"L\":[".repeat(levels), "]}".repeat(levels));
    server.expect("PutItem", &put(&nested(32)), "{}").await;
    let sentence = "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit";
    server.expect_invalid("PutItem", &put(&nested(33)), sentence).await;
    let maps = format!("{}{{\"S\":\"x\"}}{}", "{\"M\":{\"a\":".repeat(33), "}}".repeat(33));
    server.expect_invalid("PutItem", &put(&maps), sentence).await;
    for levels in [100, 100_000] {
        server.expect_invalid("PutItem", &put(&nested(levels)), sentence).await;
    }
}

#[tokio::test]
async fn an_item_of_400_kilobytes_fits_and_one_byte_more_does_not() {
    let server = with_music().await;
    // Names Artist, Song, x and the values a, b: 13 bytes.
    let fill = |size: usize| put(&format!(r#"{{"S":"{}"}}"#, "y".repeat(size - 13)));
    server.expect("PutItem", &fill(400 * 1024), "{}").await;
    let sentence = "Item size has exceeded the maximum allowed size";
    server.expect_invalid("PutItem", &fill(400 * 1024 + 1), sentence).await;
    let grow = r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}},"UpdateExpression":"SET y = :y",
        "ExpressionAttributeValues":{":y":{"S":""}}}"#;
    server.expect_invalid("UpdateItem", grow, "Item size to update has exceeded the maximum allowed size").await;
}

#[tokio::test]
async fn all_broken_constraints_are_told_at_once() {
    let server = Server::open().await;
    let null = |path: &str| format!("Value null at '{path}' failed to satisfy constraint: Member must not be null");
    let (table, key, item) = (null("tableName"), null("key"), null("item"));
    let sentence = format!("2 validation errors detected: {table}; {key}");
    server.expect_invalid("GetItem", "{}", &sentence).await;
    server.expect_invalid("PutItem", "{}", &format!("2 validation errors detected: {table}; {item}")).await;
    for operation in ["CreateTable", "DescribeTable", "UpdateTable", "DeleteTable"] {
        let sentence = "The parameter 'TableName' is required but was not present in the request";
        server.expect_invalid(operation, "{}", sentence).await;
    }
    for (name, constraint) in [
        ("", "Member must have length greater than or equal to 1"),
        ("bad table!@#", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
        (&"a".repeat(256), "Member must have length less than or equal to 255"),
    ] {
        let sentence = format!(
            "1 validation error detected: Value '{name}' at 'tableName' failed to satisfy constraint: {constraint}"
        );
        server.expect_invalid("PutItem", &format!(r#"{{"TableName":"{name}","Item":{{}}}}"#), &sentence).await;
    }
    server.expect_invalid("Scan", "{}", &format!("1 validation error detected: {table}")).await;
    server
        .expect_invalid(
            "ListTables",
            r#"{"Limit":101,"ExclusiveStartTableName":"a;"}"#,
            "3 validation errors detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value less \
             than or equal to 100; Value 'a;' at 'exclusiveStartTableName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value 'a;' at 'exclusiveStartTableName' failed to \
             satisfy constraint: Member must have length greater than or equal to 3",
        )
        .await;
    server
        .expect_invalid(
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{}},"ReturnValues":"hi","ReturnConsumedCapacity":"hi","ReturnItemCollectionMetrics":"hi"}"#,
            "3 validation errors detected: Value 'hi' at 'returnConsumedCapacity' failed to satisfy constraint: Member must \
             satisfy enum value set: [INDEXES, TOTAL, NONE]; Value 'hi' at 'returnValues' failed to satisfy constraint: \
             Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]; Value 'hi' at \
             'returnItemCollectionMetrics' failed to satisfy constraint: Member must satisfy enum value set: [SIZE, NONE]",
        )
        .await;
    server
        .expect_invalid(
            "Scan",
            r#"{"TableName":"abc","Limit":0,"TotalSegments":1000001,"Segment":-1,"Select":"x"}"#,
            "4 validation errors detected: Value '1000001' at 'totalSegments' failed to satisfy constraint: Member must have \
             value less than or equal to 1000000; Value 'x' at 'select' failed to satisfy constraint: Member must satisfy \
             enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]; Value '0' at 'limit' \
             failed to satisfy constraint: Member must have value greater than or equal to 1; Value '-1' at 'segment' \
             failed to satisfy constraint: Member must have value greater than or equal to 0",
        )
        .await;
}

#[tokio::test]
async fn types_come_before_shape_and_shape_before_sense() {
    let server = Server::open().await;
    let number = "NUMBER_VALUE cannot be converted to String";
    server.expect_unserializable("PutItem", r#"{"Item":{"a":{}},"ReturnValues":1}"#, number).await;
    let shape = r#"{"TableName":"abc","Item":{"a":{}},"ReturnValues":"x"}"#;
    let sentence = "1 validation error detected: Value 'x' at 'returnValues' failed to satisfy constraint: Member must \
                    satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]";
    server.expect_invalid("PutItem", shape, sentence).await;
    let sense = r#"{"TableName":"abc","Item":{"a":{}},"ReturnValues":"ALL_NEW"}"#;
    let sentence = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
    server.expect_invalid("PutItem", sense, sentence).await;
    let returning = r#"{"TableName":"abc","Item":{},"ReturnValues":"ALL_NEW"}"#;
    server.expect_invalid("PutItem", returning, "ReturnValues can only be ALL_OLD or NONE").await;
    let missing = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#;
    server.expect("PutItem", r#"{"TableName":"abc","Item":{}}"#, missing).await;
}

#[tokio::test]
async fn keys_are_held_against_the_schema() {
    let server = with_music().await;
    let mismatch = "The provided key element does not match the schema";
    for key in [
        "{}",
        r#"{"Artist":{"S":"a"}}"#,
        r#"{"Artist":{"S":"a"},"Song":{"N":"1"}}"#,
        r#"{"Artist":{"S":"a"},"song":{"S":"b"}}"#,
        r#"{"Artist":{"S":"a"},"Song":{"S":"b"},"x":{"S":"c"}}"#,
    ] {
        for operation in ["GetItem", "DeleteItem", "UpdateItem"] {
            server.expect_invalid(operation, &format!(r#"{{"TableName":"Music","Key":{key}}}"#), mismatch).await;
        }
    }
    let empty = r#"{"TableName":"Music","Key":{"Artist":{"S":""},"Song":{"S":"b"}}}"#;
    let sentence = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
                    empty string value. Key: Artist";
    server.expect_invalid("GetItem", empty, sentence).await;
    let long = |artist: usize, song: usize| {
        let (artist, song) = ("a".repeat(artist), "s".repeat(song));
        format!(r#"{{"TableName":"Music","Key":{{"Artist":{{"S":"{artist}"}},"Song":{{"S":"{song}"}}}}}}"#)
    };
    server.expect("GetItem", &long(2048, 1024), "{}").await;
    let sentence =
        "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes";
    server.expect_invalid("GetItem", &long(2049, 1), sentence).await;
    let sentence = "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size \
                    limit of 1024 bytes";
    server.expect_invalid("GetItem", &long(1, 1025), sentence).await;
    for (item, sentence) in [
        (r#"{"Artist":{"S":"a"}}"#, "One or more parameter values were invalid: Missing the key Song in the item"),
        (
            r#"{"Artist":{"S":"a"},"Song":{"BOOL":true}}"#,
            "One or more parameter values were invalid: Type mismatch for key Song expected: S actual: BOOL",
        ),
        (
            r#"{"Artist":{"S":"a"},"Song":{"S":""}}"#,
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
             string value. Key: Song",
        ),
    ] {
        server.expect_invalid("PutItem", &format!(r#"{{"TableName":"Music","Item":{item}}}"#), sentence).await;
    }
}

#[tokio::test]
async fn placeholders_must_be_right_and_used() {
    let server = with_music().await;
    let get =
        |rest: &str| format!(r#"{{"TableName":"Music","Key":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}}}},{rest}}}"#);
    for (rest, sentence) in [
        (
            r##""ExpressionAttributeNames":{"#a":"b"}"##,
            "ExpressionAttributeNames can only be specified when using expressions",
        ),
        (r#""ExpressionAttributeNames":{},"ProjectionExpression":"a""#, "ExpressionAttributeNames must not be empty"),
        (
            r#""ExpressionAttributeNames":{"a":"b"},"ProjectionExpression":"a""#,
            r#"ExpressionAttributeNames contains invalid key: Syntax error; key: "a""#,
        ),
        (
            r##""ExpressionAttributeNames":{"#a":"b"},"ProjectionExpression":"c""##,
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}",
        ),
        (r#""ProjectionExpression":"""#, "Invalid ProjectionExpression: The expression can not be empty;"),
        (
            r#""ProjectionExpression":"Artist.x""#,
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: Artist",
        ),
    ] {
        server.expect_invalid("GetItem", &get(rest), sentence).await;
    }
    for (rest, sentence) in [
        (
            r#""ExpressionAttributeValues":{":a":{"S":"b"}}"#,
            "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
        ),
        (
            r#""ExpressionAttributeValues":{},"ConditionExpression":"a = :a""#,
            "ExpressionAttributeValues must not be empty",
        ),
        (
            r#""ExpressionAttributeValues":{":a":{}},"ConditionExpression":"a = :a""#,
            "ExpressionAttributeValues contains invalid value: Supplied AttributeValue is empty, must contain exactly one \
             of the supported datatypes for key :a",
        ),
        (
            r#""ExpressionAttributeValues":{":a":{"S":"b"}},"ConditionExpression":"a = :b""#,
            "Invalid ConditionExpression: An expression attribute value used in expression is not defined; attribute \
             value: :b",
        ),
        (
            r#""ExpressionAttributeValues":{":a":{"S":"b"},":b":{"S":"b"}},"ConditionExpression":"a = :a""#,
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:b}",
        ),
    ] {
        server.expect_invalid("DeleteItem", &get(rest), sentence).await;
    }
}

#[tokio::test]
async fn parameters_from_before_expressions_are_refused() {
    let server = with_music().await;
    let key = r#""Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}"#;
    for (operation, rest, name) in [
        ("GetItem", r#""AttributesToGet":["a"]"#, "AttributesToGet"),
        ("DeleteItem", r#""Expected":{"a":{"Exists":false}}"#, "Expected"),
        ("UpdateItem", r#""AttributeUpdates":{"a":{"Value":{"S":"b"}}}"#, "AttributeUpdates"),
        ("Scan", r#""ScanFilter":{}"#, "ScanFilter"),
        ("Query", r#""KeyConditions":{}"#, "KeyConditions"),
        ("Query", r#""QueryFilter":{}"#, "QueryFilter"),
        ("Scan", r#""ConditionalOperator":"OR""#, "ConditionalOperator"),
    ] {
        let body = format!(r#"{{"TableName":"Music",{key},{rest}}}"#);
        let sentence = format!("The legacy parameter {name} is not supported yet");
        server.expect_invalid(operation, &body, &sentence).await;
    }
    let both = format!(
        r#"{{"TableName":"Music",{key},"Expected":{{}},"ConditionExpression":"a = :a","ConditionalOperator":"OR"}}"#
    );
    let sentence = "Can not use both expression and non-expression parameters in the same request: Non-expression \
                    parameters: {Expected, ConditionalOperator} Expression parameters: {ConditionExpression}";
    server.expect_invalid("DeleteItem", &both, sentence).await;
}
