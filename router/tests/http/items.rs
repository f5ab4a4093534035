//! Single items, through the SDK and as literal JSON.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};

use crate::harness::{Server, with_music};

#[tokio::test]
async fn the_sdk_creates_a_table_and_gets_what_it_put() {
    let server = Server::signed().await;
    let client = server.client();
    client
        .create_table()
        .table_name("Things")
        .attribute_definitions(
            AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::N).build().unwrap(),
        )
        .key_schema(KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
    let described = client.describe_table().table_name("Things").send().await.unwrap().table.unwrap();
    assert_eq!(described.table_arn.unwrap(), "arn:aws:dynamodb:eu-central-7:000000000000:table/Things");

    let nested = AttributeValue::M([("a".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true)]))].into());
    client
        .put_item()
        .table_name("Things")
        .item("id", AttributeValue::N("7".to_owned()))
        .item("what", nested.clone())
        .item("bytes", AttributeValue::B(vec![0, 1, 255].into()))
        .send()
        .await
        .unwrap();
    let got =
        client.get_item().table_name("Things").key("id", AttributeValue::N("7.0".to_owned())).send().await.unwrap();
    let item = got.item.unwrap();
    assert_eq!(item["id"], AttributeValue::N("7".to_owned()));
    assert_eq!(item["what"], nested);
    assert_eq!(item["bytes"], AttributeValue::B(vec![0, 1, 255].into()));
}

#[tokio::test]
async fn an_item_comes_back_as_it_was_put() {
    let server = with_music().await;
    server
        .expect(
            "PutItem",
            r#"{"TableName":"Music","ReturnConsumedCapacity":"INDEXES","Item":{"Artist":{"S":"Nina \"X\"\n"},"Song":{"S":"ü"},
                "n":{"N":"1.50e1"},"ss":{"SS":["b","a"]},"ns":{"NS":["3","-1"]},"bs":{"BS":["AAE="]},"f":{"BOOL":false},
                "z":{"NULL":true},"l":{"L":[{"S":""},{"L":[]}]},"m":{"M":{"x":{"N":"0"}}}}}"#,
            r#"{"ConsumedCapacity":{"TableName":"Music","CapacityUnits":1.0,"Table":{"CapacityUnits":1.0}}}"#,
        )
        .await;
    server
        .expect(
            "GetItem",
            r#"{"TableName":"Music","Key":{"Artist":{"S":"Nina \"X\"\n"},"Song":{"S":"ü"}},"ReturnConsumedCapacity":"TOTAL"}"#,
            concat!(
                r#"{"Item":{"Artist":{"S":"Nina \"X\"\n"},"Song":{"S":"ü"},"bs":{"BS":["AAE="]},"f":{"BOOL":false},"#,
                r#""l":{"L":[{"S":""},{"L":[]}]},"m":{"M":{"x":{"N":"0"}}},"n":{"N":"15"},"ns":{"NS":["-1","3"]},"#,
                r#""ss":{"SS":["a","b"]},"z":{"NULL":true}},"ConsumedCapacity":{"TableName":"Music","CapacityUnits":0.5}}"#
            ),
        )
        .await;
}

const KEY: &str = r#""Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}"#;

fn update(expression: &str, values: &str, rest: &str) -> String {
    format!(
        r#"{{"TableName":"Music",{KEY},"UpdateExpression":"{expression}","ExpressionAttributeValues":{{{values}}}{rest}}}"#
    )
}

#[tokio::test]
async fn updates_return_what_is_asked() {
    let server = with_music().await;
    let returning = |what: &str| format!(r#","ReturnValues":"{what}""#);
    let body = update(
        "SET m = :m, n = :n",
        r#"":m":{"M":{"x":{"N":"1"},"y":{"N":"2"}}},":n":{"N":"5"}"#,
        &returning("UPDATED_OLD"),
    );
    server.expect("UpdateItem", &body, "{}").await;
    let body = update("SET m.x = :m ADD n :n", r#"":m":{"N":"7"},":n":{"N":"1"}"#, &returning("UPDATED_NEW"));
    let expected = r#"{"Attributes":{"m":{"M":{"x":{"N":"7"}}},"n":{"N":"6"}}}"#;
    server.expect("UpdateItem", &body, expected).await;
    let body = update("SET m.x = :m ADD n :n", r#"":m":{"N":"8"},":n":{"N":"1"}"#, &returning("UPDATED_OLD"));
    server.expect("UpdateItem", &body, expected).await;
    let body = update("SET k = :k", r#"":k":{"S":""}"#, &returning("ALL_OLD"));
    let all_old =
        r#"{"Attributes":{"Artist":{"S":"a"},"Song":{"S":"b"},"m":{"M":{"x":{"N":"8"},"y":{"N":"2"}}},"n":{"N":"7"}}}"#;
    server.expect("UpdateItem", &body, all_old).await;
    let body = format!(
        r#"{{"TableName":"Music",{KEY},"UpdateExpression":"REMOVE m, n","ReturnValues":"ALL_NEW","ReturnConsumedCapacity":"TOTAL"}}"#
    );
    let expected = concat!(
        r#"{"Attributes":{"Artist":{"S":"a"},"Song":{"S":"b"},"k":{"S":""}},"#,
        r#""ConsumedCapacity":{"TableName":"Music","CapacityUnits":1.0}}"#
    );
    server.expect("UpdateItem", &body, expected).await;
    let body = format!(r#"{{"TableName":"Music",{KEY},"UpdateExpression":"REMOVE k","ReturnValues":"UPDATED_NEW"}}"#);
    server.expect("UpdateItem", &body, "{}").await;
}

#[tokio::test]
async fn an_update_without_an_expression_creates_the_item() {
    let server = with_music().await;
    server.expect("UpdateItem", &format!(r#"{{"TableName":"Music",{KEY}}}"#), "{}").await;
    let expected = r#"{"Item":{"Artist":{"S":"a"},"Song":{"S":"b"}}}"#;
    server.expect("GetItem", &format!(r#"{{"TableName":"Music",{KEY}}}"#), expected).await;
}

#[tokio::test]
async fn the_key_cannot_be_updated() {
    let server = with_music().await;
    let sentence = "One or more parameter values were invalid: Cannot update attribute Song. This attribute is part of the \
                    key";
    server.expect_invalid("UpdateItem", &update("SET Song = :s", r#"":s":{"S":"c"}"#, ""), sentence).await;
    let wrong = update("SET q = absent + :s", r#"":s":{"N":"1"}"#, "");
    let sentence = "The provided expression refers to an attribute that does not exist in the item";
    server.expect_invalid("UpdateItem", &wrong, sentence).await;
}

#[tokio::test]
async fn a_failed_condition_may_show_the_item() {
    let server = with_music().await;
    let put = |rest: &str| {
        format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}}}},"ConditionExpression":"attribute_not_exists(Artist)"{rest}}}"#
        )
    };
    server.expect("PutItem", &put(""), "{}").await;
    let failed = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}"#;
    server.expect("PutItem", &put(""), failed).await;
    let with_item = concat!(
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","#,
        r#""Item":{"Artist":{"S":"a"},"Song":{"S":"b"}},"message":"The conditional request failed"}"#
    );
    server.expect("PutItem", &put(r#","ReturnValuesOnConditionCheckFailure":"ALL_OLD""#), with_item).await;
    let delete = format!(
        r#"{{"TableName":"Music",{KEY},"ConditionExpression":"Song = :s","ExpressionAttributeValues":{{":s":{{"S":"z"}}}}}}"#
    );
    server.expect("DeleteItem", &delete, failed).await;
}

#[tokio::test]
async fn deletes_and_puts_return_the_old_item() {
    let server = with_music().await;
    let put = |n: u8| {
        format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"n":{{"N":"{n}"}}}},"ReturnValues":"ALL_OLD"}}"#
        )
    };
    let old = |n: u8| format!(r#"{{"Attributes":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"n":{{"N":"{n}"}}}}}}"#);
    server.expect("PutItem", &put(1), "{}").await;
    server.expect("PutItem", &put(2), &old(1)).await;
    let delete =
        format!(r#"{{"TableName":"Music",{KEY},"ReturnValues":"ALL_OLD","ReturnItemCollectionMetrics":"SIZE"}}"#);
    server.expect("DeleteItem", &delete, &old(2)).await;
    server.expect("DeleteItem", &delete, "{}").await;
    server.expect("GetItem", &format!(r#"{{"TableName":"Music",{KEY}}}"#), "{}").await;
}

#[tokio::test]
async fn capacity_is_counted_to_the_half_unit() {
    let server = with_music().await;
    let put = |bytes: usize| {
        let filling = "f".repeat(bytes);
        format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"f":{{"S":"{filling}"}}}},"ReturnConsumedCapacity":"TOTAL"}}"#
        )
    };
    let used = |units: &str| format!(r#"{{"ConsumedCapacity":{{"TableName":"Music","CapacityUnits":{units}}}}}"#);
    // Names and key values are 13 bytes beside the filling.
    server.expect("PutItem", &put(1024 - 13), &used("1.0")).await;
    server.expect("PutItem", &put(1024 - 12), &used("2.0")).await;
    server.expect("PutItem", &put(8192), &used("9.0")).await;
    server.expect("PutItem", &put(1), &used("9.0")).await;
    server.expect("PutItem", &put(8193 - 13), &used("9.0")).await;
    for (consistent, units) in [("false", "1.5"), ("true", "3.0")] {
        let body = format!(
            r#"{{"TableName":"Music",{KEY},"ConsistentRead":{consistent},"ProjectionExpression":"q","ReturnConsumedCapacity":"TOTAL"}}"#
        );
        let expected = format!(r#"{{"Item":{{}},"ConsumedCapacity":{{"TableName":"Music","CapacityUnits":{units}}}}}"#);
        server.expect("GetItem", &body, &expected).await;
    }
}
