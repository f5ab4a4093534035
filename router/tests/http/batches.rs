//! BatchGetItem and BatchWriteItem.

use router::routing::Failure;

use crate::harness::{Server, with_music};

fn key(song: &str) -> String {
    format!(r#"{{"Artist":{{"S":"x"}},"Song":{{"S":"{song}"}}}}"#)
}

async fn with_songs(songs: &[&str]) -> Server {
    let server = with_music().await;
    let puts: Vec<String> = songs.iter().map(|song| format!(r#"{{"PutRequest":{{"Item":{}}}}}"#, key(song))).collect();
    let body = format!(r#"{{"RequestItems":{{"Music":[{}]}}}}"#, puts.join(","));
    server.expect("BatchWriteItem", &body, r#"{"UnprocessedItems":{}}"#).await;
    server
}

#[tokio::test]
async fn a_batch_writes_and_gets() {
    let server = with_songs(&["a", "b"]).await;
    let body = format!(
        r#"{{"RequestItems":{{"Music":{{"Keys":[{},{},{}],"ProjectionExpression":"Song"}}}},"ReturnConsumedCapacity":"TOTAL"}}"#,
        key("a"),
        key("b"),
        key("missing")
    );
    let expected = concat!(
        r#"{"Responses":{"Music":[{"Song":{"S":"a"}},{"Song":{"S":"b"}}]},"UnprocessedKeys":{},"#,
        r#""ConsumedCapacity":[{"TableName":"Music","CapacityUnits":1.5}]}"#
    );
    server.expect("BatchGetItem", &body, expected).await;
    let body = format!(
        r#"{{"RequestItems":{{"Music":[{{"DeleteRequest":{{"Key":{}}}}},{{"PutRequest":{{"Item":{}}}}}]}},"ReturnConsumedCapacity":"INDEXES"}}"#,
        key("a"),
        key("c")
    );
    let expected = concat!(
        r#"{"UnprocessedItems":{},"ConsumedCapacity":[{"TableName":"Music","CapacityUnits":2.0,"#,
        r#""Table":{"CapacityUnits":2.0}}]}"#
    );
    server.expect("BatchWriteItem", &body, expected).await;
    let count = r#"{"Count":2,"ScannedCount":2}"#;
    server.expect("Scan", r#"{"TableName":"Music","Select":"COUNT"}"#, count).await;
}

#[tokio::test]
async fn what_could_not_be_done_is_handed_back() {
    let server = with_songs(&["a", "b"]).await;
    let overloaded = || Failure::Overloaded("full".to_owned());
    server.backend.fail_next([overloaded()]);
    let body = format!(
        r##"{{"RequestItems":{{"Music":{{"Keys":[{},{}],"ProjectionExpression":"#s","ExpressionAttributeNames":{{"#s":"Song"}},"ConsistentRead":true}}}}}}"##,
        key("a"),
        key("b")
    );
    let expected = format!(
        concat!(
            r##"{{"Responses":{{"Music":[{{"Song":{{"S":"b"}}}}]}},"UnprocessedKeys":{{"Music":{{"Keys":[{}],"##,
            r##""ProjectionExpression":"#s","ExpressionAttributeNames":{{"#s":"Song"}},"ConsistentRead":true}}}}}}"##
        ),
        key("a")
    );
    server.expect("BatchGetItem", &body, &expected).await;

    server.backend.fail_next([Failure::Unavailable("no leader".to_owned())]);
    let write = format!(
        r#"{{"RequestItems":{{"Music":[{{"PutRequest":{{"Item":{}}}}},{{"DeleteRequest":{{"Key":{}}}}}]}}}}"#,
        key("c"),
        key("b")
    );
    let expected = format!(r#"{{"UnprocessedItems":{{"Music":[{{"PutRequest":{{"Item":{}}}}}]}}}}"#, key("c"));
    server.expect("BatchWriteItem", &write, &expected).await;

    server.backend.fail_next([overloaded(), overloaded()]);
    assert_eq!(server.post("BatchWriteItem", &write).await.status, 503);
    server.backend.fail_next([Failure::Unknown]);
    assert_eq!(server.post("BatchWriteItem", &write).await.status, 500);
}

#[tokio::test]
async fn batches_that_make_no_sense_are_refused() {
    let server = with_music().await;
    let duplicates = "Provided list of item keys contains duplicates";
    let body = format!(r#"{{"RequestItems":{{"Music":{{"Keys":[{0},{0}]}}}}}}"#, key("a"));
    server.expect_invalid("BatchGetItem", &body, duplicates).await;
    let put = format!(r#"[{{"PutRequest":{{"Item":{}}}}}]"#, key("a"));
    let arn = "arn:aws:dynamodb:eu-central-7:000000000000:table/Music";
    let body = format!(r#"{{"RequestItems":{{"Music":{put},"{arn}":{put}}}}}"#);
    server.expect_invalid("BatchWriteItem", &body, duplicates).await;
    let body = format!(
        r#"{{"RequestItems":{{"Music":[{{"PutRequest":{{"Item":{0}}}}},{{"DeleteRequest":{{"Key":{0}}}}}]}}}}"#,
        key("a")
    );
    server.expect_invalid("BatchWriteItem", &body, duplicates).await;

    let keys: Vec<String> = (0..51).map(|song| key(&song.to_string())).collect();
    let keys = keys.join(",");
    let body = format!(r#"{{"RequestItems":{{"Music":{{"Keys":[{keys}]}},"Other":{{"Keys":[{keys}]}}}}}}"#);
    server.expect_invalid("BatchGetItem", &body, "Too many items requested for the BatchGetItem call").await;
    for operation in ["BatchGetItem", "BatchWriteItem"] {
        let empty = format!("The requestItems parameter is required for {operation}");
        server.expect_invalid(operation, r#"{"RequestItems":{}}"#, &empty).await;
        let null = "1 validation error detected: Value null at 'requestItems' failed to satisfy constraint: Member must not \
                    be null";
        server.expect_invalid(operation, "{}", null).await;
    }
    let puts: Vec<String> =
        (0..26).map(|song| format!(r#"{{"PutRequest":{{"Item":{}}}}}"#, key(&song.to_string()))).collect();
    let body = format!(r#"{{"RequestItems":{{"Music":[{}]}}}}"#, puts.join(","));
    let sentence = "1 validation error detected: Value '{Music=[26 requests]}' at 'requestItems' failed to satisfy \
                    constraint: Map value must satisfy constraint: [Member must have length less than or equal to 25, Member \
                    must have length greater than or equal to 1]";
    server.expect_invalid("BatchWriteItem", &body, sentence).await;
    let neither = r#"{"RequestItems":{"Music":[{}]}}"#;
    let sentence =
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
    server.expect_invalid("BatchWriteItem", neither, sentence).await;
    let missing = r#"{"RequestItems":{"Music":[{"PutRequest":{"Item":{"Artist":{"S":"x"}}}}]}}"#;
    server.expect_invalid("BatchWriteItem", missing, "The provided key element does not match the schema").await;
    let gone = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#;
    server.expect("BatchGetItem", &format!(r#"{{"RequestItems":{{"None":{{"Keys":[{}]}}}}}}"#, key("a")), gone).await;
}

#[tokio::test]
async fn a_batch_answers_no_more_than_sixteen_megabytes() {
    let server = with_music().await;
    let filling = "f".repeat(400_000);
    let songs: Vec<String> = (0..45).map(|song| format!("s{song:02}")).collect();
    for song in &songs {
        let body = format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"x"}},"Song":{{"S":"{song}"}},"f":{{"S":"{filling}"}}}}}}"#
        );
        assert_eq!(server.post("PutItem", &body).await.status, 200);
    }
    let keys: Vec<String> = songs.iter().map(|song| key(song)).collect();
    let body = format!(r#"{{"RequestItems":{{"Music":{{"Keys":[{}]}}}}}}"#, keys.join(","));
    let answer = server.post("BatchGetItem", &body).await;
    assert_eq!(answer.body.matches(&filling).count(), 41);
    let (_, unprocessed) = answer.body.split_once(r#""UnprocessedKeys":{"Music":{"Keys":["#).unwrap();
    assert_eq!(unprocessed.matches(r#""Song""#).count(), 4);
}
