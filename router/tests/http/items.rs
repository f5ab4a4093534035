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
