//! Operations on tables.

use crate::harness::{CREATE_MUSIC, Server, with_music};

const DESCRIPTION: &str = concat!(
    r#""AttributeDefinitions":[{"AttributeName":"Artist","AttributeType":"S"},{"AttributeName":"Song","AttributeType":"S"}],"#,
    r#""TableName":"Music","KeySchema":[{"AttributeName":"Artist","KeyType":"HASH"},{"AttributeName":"Song","KeyType":"RANGE"}],"#
);

fn create(rest: &str) -> String {
    format!(
        r#"{{"TableName":"Tab","AttributeDefinitions":[{{"AttributeName":"a","AttributeType":"B"}}],
            "KeySchema":[{{"AttributeName":"a","KeyType":"HASH"}}],{rest}}}"#
    )
}

#[tokio::test]
async fn a_table_is_described_from_creation_to_deletion() {
    let server = Server::open().await;
    let rest = concat!(
        r#""CreationDateTime":1371269370.123,"#,
        r#""ProvisionedThroughput":{"NumberOfDecreasesToday":0,"ReadCapacityUnits":0,"WriteCapacityUnits":0},"#,
        r#""TableSizeBytes":0,"ItemCount":0,"TableArn":"arn:aws:dynamodb:eu-central-7:000000000000:table/Music","#,
        r#""TableId":"00000000-0000-0001-0000-000000000000","BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST"},"#,
        r#""DeletionProtectionEnabled":false}}"#
    );
    let described =
        |field: &str, status: &str| format!(r#"{{"{field}":{{{DESCRIPTION}"TableStatus":"{status}",{rest}"#);
    server.expect("CreateTable", CREATE_MUSIC, &described("TableDescription", "CREATING")).await;
    server.expect("DescribeTable", r#"{"TableName":"Music"}"#, &described("Table", "ACTIVE")).await;
    let arn = r#"{"TableName":"arn:aws:dynamodb:eu-central-7:000000000000:table/Music"}"#;
    server.expect("DescribeTable", arn, &described("Table", "ACTIVE")).await;
    server.expect("ListTables", "{}", r#"{"TableNames":["Music"]}"#).await;
    let twice = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceInUseException","message":"Table already exists: Music"}"#;
    server.expect("CreateTable", CREATE_MUSIC, twice).await;
    server.expect("DeleteTable", r#"{"TableName":"Music"}"#, &described("TableDescription", "DELETING")).await;
    let gone = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found: Table: Music not found"}"#;
    for operation in ["DescribeTable", "DeleteTable", "DescribeTimeToLive"] {
        server.expect(operation, r#"{"TableName":"Music"}"#, gone).await;
    }
    server.expect("UpdateTable", r#"{"TableName":"Music","BillingMode":"PAY_PER_REQUEST"}"#, gone).await;
}

#[tokio::test]
async fn a_description_tells_how_much_the_table_holds() {
    let server = with_music().await;
    for song in ["b", "c", "b"] {
        let put = format!(r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"{song}"}}}}}}"#);
        assert_eq!(server.post("PutItem", &put).await.status, 200);
    }
    // Twice: two names of 6 and 4 letters, two values of one.
    let told = r#""TableSizeBytes":24,"ItemCount":2,"#;
    for (operation, more) in [("DescribeTable", ""), ("UpdateTable", r#","DeletionProtectionEnabled":true"#)] {
        let answer = server.post(operation, &format!(r#"{{"TableName":"Music"{more}}}"#)).await;
        assert!(answer.body.contains(told), "{operation}: {}", answer.body);
    }
}

#[tokio::test]
async fn items_of_a_table_that_is_being_created_are_not_there() {
    let server = Server::open().await;
    server.backend.stay_creating();
    assert_eq!(server.post("CreateTable", CREATE_MUSIC).await.status, 200);
    let missing = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#;
    let get = r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}}"#;
    server.expect("GetItem", get, missing).await;
    server.expect("Scan", r#"{"TableName":"Music"}"#, missing).await;
    assert_eq!(server.post("DescribeTable", r#"{"TableName":"Music"}"#).await.status, 200);
}

#[tokio::test]
async fn tables_that_cannot_be_are_refused() {
    let server = Server::open().await;
    let on_demand = r#""BillingMode":"PAY_PER_REQUEST""#;
    for (body, sentence) in [
        (
            create("\"x\":1"),
            "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be specified \
             when BillingMode is PROVISIONED",
        ),
        (
            create(
                r#""BillingMode":"PAY_PER_REQUEST","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}"#,
            ),
            "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified \
             when BillingMode is PAY_PER_REQUEST",
        ),
        (
            create(r#""ProvisionedThroughput":{"ReadCapacityUnits":1000000000001,"WriteCapacityUnits":1}"#),
            "Given value 1000000000001 for ReadCapacityUnits is out of bounds",
        ),
        (
            create(r#""ProvisionedThroughput":{"ReadCapacityUnits":0,"WriteCapacityUnits":-1}"#),
            "2 validation errors detected: Value '-1' at 'provisionedThroughput.writeCapacityUnits' failed to satisfy \
             constraint: Member must have value greater than or equal to 1; Value '0' at \
             'provisionedThroughput.readCapacityUnits' failed to satisfy constraint: Member must have value greater than \
             or equal to 1",
        ),
        (
            create(on_demand)
                .replace("\"KeySchema\":[{\"AttributeName\":\"a\"", "\"KeySchema\":[{\"AttributeName\":\"b\""),
            "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. \
             Keys: [b], AttributeDefinitions: [a]",
        ),
        (
            create(on_demand).replace("HASH", "RANGE"),
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ),
        (
            create(on_demand).replace("HASH", "SALT"),
            "1 validation error detected: Value 'SALT' at 'keySchema.1.member.keyType' failed to satisfy constraint: Member \
             must satisfy enum value set: [HASH, RANGE]",
        ),
        (
            create(on_demand).replace("\"Tab\"", "\"ab\""),
            "1 validation error detected: Value 'ab' at 'tableName' failed to satisfy constraint: Member must have length \
             greater than or equal to 3",
        ),
        (
            create(&format!(r#"{on_demand},"GlobalSecondaryIndexes":[{{}}]"#)),
            "GlobalSecondaryIndexes is not supported yet",
        ),
        (
            create(&format!(r#"{on_demand},"LocalSecondaryIndexes":[{{}}]"#)),
            "LocalSecondaryIndexes is not supported yet",
        ),
        (
            create(&format!(r#"{on_demand},"StreamSpecification":{{"StreamEnabled":true}}"#)),
            "StreamSpecification is not supported yet",
        ),
        (
            create(&format!(r#"{on_demand},"SSESpecification":{{"Enabled":true,"SSEType":"KMS"}}"#)),
            "SSESpecification is not supported yet",
        ),
        (
            create(&format!(r#"{on_demand},"Tags":[{{"Key":"trivet.dev/partitions","Value":"0"}}]"#)),
            "The tag trivet.dev/partitions must be a whole number from 1 to 1024, not '0'",
        ),
    ] {
        server.expect_invalid("CreateTable", &body, sentence).await;
    }
}

#[tokio::test]
async fn tags_and_classes_are_kept() {
    let server = Server::open().await;
    let body = create(
        r#""BillingMode":"PAY_PER_REQUEST","TableClass":"STANDARD_INFREQUENT_ACCESS","DeletionProtectionEnabled":true,
           "StreamSpecification":{"StreamEnabled":false},
           "Tags":[{"Key":"trivet.dev/partitions","Value":"7"},{"Key":"k","Value":""}]"#,
    );
    let answer = server.post("CreateTable", &body).await;
    assert!(
        answer.body.contains(r#""TableClassSummary":{"TableClass":"STANDARD_INFREQUENT_ACCESS"}"#),
        "{}",
        answer.body
    );
    assert!(answer.body.contains(r#""DeletionProtectionEnabled":true"#), "{}", answer.body);
    let arn = r#"{"ResourceArn":"arn:aws:dynamodb:eu-central-7:000000000000:table/Tab"}"#;
    let tags = r#"{"Tags":[{"Key":"trivet.dev/partitions","Value":"7"},{"Key":"k","Value":""}]}"#;
    server.expect("ListTagsOfResource", arn, tags).await;
    let protected = "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection \
                     first.";
    server.expect_invalid("DeleteTable", r#"{"TableName":"Tab"}"#, protected).await;
    let off = r#"{"TableName":"Tab","DeletionProtectionEnabled":false}"#;
    assert_eq!(server.post("UpdateTable", off).await.status, 200);
    assert_eq!(server.post("DeleteTable", r#"{"TableName":"Tab"}"#).await.status, 200);
}

#[tokio::test]
async fn throughput_and_billing_change() {
    let server = with_music().await;
    let none = "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
                SSESpecification or ReplicaUpdates is required";
    server.expect_invalid("UpdateTable", r#"{"TableName":"Music"}"#, none).await;
    let without = "One or more parameter values were invalid: ProvisionedThroughput must be specified when BillingMode is \
                   PROVISIONED";
    server.expect_invalid("UpdateTable", r#"{"TableName":"Music","BillingMode":"PROVISIONED"}"#, without).await;
    let units = r#""ProvisionedThroughput":{"ReadCapacityUnits":3,"WriteCapacityUnits":4}"#;
    let neither = "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be \
                   specified when BillingMode is PAY_PER_REQUEST";
    server.expect_invalid("UpdateTable", &format!(r#"{{"TableName":"Music",{units}}}"#), neither).await;
    let provisioned = format!(r#"{{"TableName":"Music","BillingMode":"PROVISIONED",{units}}}"#);
    let answer = server.post("UpdateTable", &provisioned).await;
    assert!(answer.body.contains(r#""ReadCapacityUnits":3,"WriteCapacityUnits":4"#), "{}", answer.body);
    let same = "The provisioned throughput for the table will not change. The requested value equals the current value. \
                Current ReadCapacityUnits provisioned for the table: 3. Requested ReadCapacityUnits: 3. Current \
                WriteCapacityUnits provisioned for the table: 4. Requested WriteCapacityUnits: 4. Refer to the Amazon \
                DynamoDB Developer Guide for current limits and how to request higher limits.";
    server.expect_invalid("UpdateTable", &provisioned, same).await;
    let index = r#"{"TableName":"Music","GlobalSecondaryIndexUpdates":[{"Delete":{"IndexName":"abc"}}]}"#;
    server.expect_invalid("UpdateTable", index, "GlobalSecondaryIndexUpdates is not supported yet").await;
}

#[tokio::test]
async fn names_come_in_pages() {
    let server = Server::open().await;
    for name in ["bbb", "aaa", "ccc"] {
        let body = create(r#""BillingMode":"PAY_PER_REQUEST""#).replace("\"Tab\"", &format!("\"{name}\""));
        assert_eq!(server.post("CreateTable", &body).await.status, 200);
    }
    server
        .expect("ListTables", r#"{"Limit":2}"#, r#"{"TableNames":["aaa","bbb"],"LastEvaluatedTableName":"bbb"}"#)
        .await;
    server.expect("ListTables", r#"{"ExclusiveStartTableName":"bbb"}"#, r#"{"TableNames":["ccc"]}"#).await;
}

#[tokio::test]
async fn what_needs_no_table_is_answered() {
    let server = with_music().await;
    server
        .expect(
            "DescribeLimits",
            "{}",
            concat!(
                r#"{"AccountMaxReadCapacityUnits":80000,"AccountMaxWriteCapacityUnits":80000,"#,
                r#""TableMaxReadCapacityUnits":40000,"TableMaxWriteCapacityUnits":40000}"#
            ),
        )
        .await;
    server.expect("DescribeEndpoints", "{}", r#"{"Endpoints":[{"Address":"here","CachePeriodInMinutes":1440}]}"#).await;
    let disabled = r#"{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}"#;
    server.expect("DescribeTimeToLive", r#"{"TableName":"Music"}"#, disabled).await;
}
