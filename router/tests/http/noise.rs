//! Random input: what was put comes back, whatever it is; what is no request is refused, whatever it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Item, Number, Value};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use router::config::Settings;
use router::json::attribute::Attributes;
use router::json::write::Writer;
use router::operation::{Call, Operation};
use serde::Deserialize;

use crate::harness::CREATE_MUSIC;
use crate::memory::Memory;

fn number() -> impl Strategy<Value = Number> {
    (any::<i64>(), -100..100i32).prop_map(|(digits, exponent)| Number::parse(&format!("{digits}e{exponent}")).unwrap())
}

fn sorted<T: Ord>(members: Vec<T>) -> Vec<T> {
    let mut members = members;
    members.sort();
    members.dedup();
    members
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = || vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::S),
        number().prop_map(Value::N),
        bytes().prop_map(Value::B),
        btree_set(any::<String>(), 1..4).prop_map(|set| Value::Ss(set.into_iter().collect())),
        vec(number(), 1..4).prop_map(|set| Value::Ns(sorted(set))),
        vec(bytes(), 1..4).prop_map(|set| Value::Bs(sorted(set))),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::L),
            btree_map(any::<String>(), inner, 0..4).prop_map(Value::M),
        ]
    })
}

fn item() -> impl Strategy<Value = Item> {
    btree_map(any::<String>(), value(), 0..5)
}

#[derive(Deserialize)]
struct Holder {
    item: Attributes,
}

/// Good requests, to be spoilt.
const REQUESTS: [(Operation, &str); 12] = [
    (Operation::CreateTable, CREATE_MUSIC),
    (
        Operation::PutItem,
        r#"{"TableName":"Music","Item":{"Artist":{"S":"a"},"Song":{"S":"b"},"n":{"N":"1.5"},"x":{"L":[{"BS":["AA=="]}]}},
            "ConditionExpression":"attribute_not_exists(n)","ReturnValues":"ALL_OLD"}"#,
    ),
    (
        Operation::GetItem,
        r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}},"ConsistentRead":true,"ProjectionExpression":"x[0].y"}"#,
    ),
    (
        Operation::UpdateItem,
        r##"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}},"UpdateExpression":"SET #n = :n + n",
            "ExpressionAttributeNames":{"#n":"n"},"ExpressionAttributeValues":{":n":{"N":"1"}},"ReturnValues":"UPDATED_NEW"}"##,
    ),
    (Operation::DeleteItem, r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}}"#),
    (
        Operation::Query,
        r#"{"TableName":"Music","KeyConditionExpression":"Artist = :a AND begins_with(Song, :b)","Limit":1,
            "ExpressionAttributeValues":{":a":{"S":"a"},":b":{"S":"b"}},"ScanIndexForward":false,
            "ExclusiveStartKey":{"Artist":{"S":"a"},"Song":{"S":"bc"}}}"#,
    ),
    (
        Operation::Scan,
        r#"{"TableName":"Music","FilterExpression":"size(n) > :n","ExpressionAttributeValues":{":n":{"N":"1"}},
            "Segment":1,"TotalSegments":3,"Select":"COUNT"}"#,
    ),
    (Operation::BatchGetItem, r#"{"RequestItems":{"Music":{"Keys":[{"Artist":{"S":"a"},"Song":{"S":"b"}}]}}}"#),
    (
        Operation::BatchWriteItem,
        r#"{"RequestItems":{"Music":[{"DeleteRequest":{"Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}}}]}}"#,
    ),
    (
        Operation::UpdateTable,
        r#"{"TableName":"Music","BillingMode":"PROVISIONED","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":2}}"#,
    ),
    (Operation::ListTables, r#"{"ExclusiveStartTableName":"abc","Limit":3}"#),
    (Operation::ListTagsOfResource, r#"{"ResourceArn":"arn:aws:dynamodb:eu-central-7:000000000000:table/Music"}"#),
];

/// Texts that a spoilt request may get in the place of one of its own.
const PIECES: [&str; 12] =
    ["{}", "[]", "null", "-1", "1e400", "\"\"", "true", "\u{0}", "\\ud800", "}", ":", "\"S\":[["];

proptest! {
    #[test]
    fn any_item_comes_back(item in item()) {
        let mut json = Writer::new();
        json.object(|json| {
            json.key("item");
            json.item(&item);
        });
        let read: Holder = router::json::parse(&json.finish()).unwrap();
        prop_assert_eq!(read.item.checked().unwrap(), item);
    }

    #[test]
    fn spoilt_requests_are_answered_or_refused(
        which in 0..REQUESTS.len(),
        spoils in vec((any::<prop::sample::Index>(), 0..6usize, prop::option::of(0..PIECES.len())), 1..4),
    ) {
        let (operation, request) = REQUESTS[which];
        let mut body = request.as_bytes().to_vec();
        for (place, cut, piece) in spoils {
            let from = place.index(body.len());
            let to = (from + cut).min(body.len());
            let piece = piece.map_or("", |piece| PIECES[piece]);
            body.splice(from..to, piece.bytes());
        }
        let refused = run(operation, &body);
        if let Err(error) = refused {
            prop_assert!(error.status() == 400, "{} {}", error, String::from_utf8_lossy(&body));
        }
    }
}

/// Runs one operation against a table that has one item.
fn run(operation: Operation, body: &[u8]) -> Result<Vec<u8>, router::error::Error> {
    let backend = Memory::default();
    let settings =
        Settings { region: "eu-central-7".to_owned(), deadline: Duration::from_secs(5), default_partitions: None };
    let call = || Call {
        backend: &backend,
        settings: &settings,
        deadline: Instant::now(),
        request_id: Bytes::new(),
        host: "here",
        table: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        if operation != Operation::CreateTable {
            Operation::CreateTable.run(&mut call(), CREATE_MUSIC.as_bytes()).await?;
            let put = r#"{"TableName":"Music","Item":{"Artist":{"S":"a"},"Song":{"S":"b"},"n":{"N":"2"}}}"#;
            Operation::PutItem.run(&mut call(), put.as_bytes()).await?;
        }
        operation.run(&mut call(), body).await
    })
}

#[test]
fn requests_that_are_not_spoilt_are_answered() {
    for (operation, request) in REQUESTS {
        let answer = run(operation, request.as_bytes());
        let failed = matches!(answer, Err(router::error::Error::ConditionalCheckFailed { .. }));
        assert!(answer.is_ok() || failed && operation == Operation::PutItem, "{answer:?} {request}");
    }
    let _: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&run(Operation::ListTables, b"{}").unwrap()).unwrap();
}
