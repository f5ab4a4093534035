//! Query and Scan: conditions, order, pages, segments, counts.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::harness::{Server, with_music};

/// Puts songs `names` of `artist`, each with its place as `n`.
async fn put_songs(server: &Server, artist: &str, names: &[&str]) {
    for (place, name) in names.iter().enumerate() {
        let body = format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"{artist}"}},"Song":{{"S":"{name}"}},"n":{{"N":"{place}"}}}}}}"#
        );
        assert_eq!(server.post("PutItem", &body).await.body, "{}");
    }
}

/// The songs that a query answers, in order.
async fn songs(server: &Server, condition: &str, values: &str, rest: &str) -> String {
    let values = if values.is_empty() { String::new() } else { format!(",{values}") };
    let body = format!(
        r#"{{"TableName":"Music","KeyConditionExpression":"Artist = :a{condition}","ProjectionExpression":"Song",
            "ExpressionAttributeValues":{{":a":{{"S":"x"}}{values}}}{rest}}}"#
    );
    let answer = server.post("Query", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let items = answer.body.split(r#"{"Song":{"S":""#).skip(1);
    items.map(|item| item.split('"').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn key_conditions_cut_the_collection() {
    let server = with_music().await;
    put_songs(&server, "x", &["a", "ab", "abc", "b", "c"]).await;
    put_songs(&server, "y", &["z"]).await;
    for (condition, values, expected) in [
        ("", "", "a ab abc b c"),
        (" AND Song = :b", r#"":b":{"S":"ab"}"#, "ab"),
        (" AND Song = :b", r#"":b":{"S":"nothing"}"#, ""),
        (" AND Song < :b", r#"":b":{"S":"ab"}"#, "a"),
        (" AND Song <= :b", r#"":b":{"S":"ab"}"#, "a ab"),
        (" AND Song > :b", r#"":b":{"S":"ab"}"#, "abc b c"),
        (" AND Song >= :b", r#"":b":{"S":"ab"}"#, "ab abc b c"),
        (" AND Song BETWEEN :b AND :c", r#"":b":{"S":"aa"},":c":{"S":"b"}"#, "ab abc b"),
        (" AND begins_with(Song, :b)", r#"":b":{"S":"ab"}"#, "ab abc"),
    ] {
        assert_eq!(songs(&server, condition, values, "").await, expected, "{condition}");
        let backward: Vec<&str> = expected.split(' ').rev().collect();
        let found = songs(&server, condition, values, r#","ScanIndexForward":false"#).await;
        assert_eq!(found, backward.join(" "), "{condition} backward");
    }
}

#[tokio::test]
async fn texts_with_zero_bytes_keep_their_order() {
    let server = with_music().await;
    put_songs(&server, "x", &["a", "a\\u0000", "a\\u0000b", "ab"]).await;
    let found = songs(&server, " AND begins_with(Song, :b)", r#"":b":{"S":"a\u0000"}"#, "").await;
    assert_eq!(found, "a\\u0000 a\\u0000b");
    let found = songs(&server, " AND Song > :b", r#"":b":{"S":"a"}"#, "").await;
    assert_eq!(found, "a\\u0000 a\\u0000b ab");
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let server = with_music().await;
    put_songs(&server, "x", &["a", "b", "c"]).await;
    let page = |rest: &str| {
        format!(
            r#"{{"TableName":"Music","KeyConditionExpression":"Artist = :a","ExpressionAttributeValues":{{":a":{{"S":"x"}}}},
                "ProjectionExpression":"n","Limit":2,"ReturnConsumedCapacity":"INDEXES"{rest}}}"#
        )
    };
    let capacity = r#""ConsumedCapacity":{"TableName":"Music","CapacityUnits":0.5,"Table":{"CapacityUnits":0.5}}"#;
    let last = |song: &str| format!(r#""LastEvaluatedKey":{{"Artist":{{"S":"x"}},"Song":{{"S":"{song}"}}}}"#);
    let start = |song: &str| format!(r#","ExclusiveStartKey":{{"Artist":{{"S":"x"}},"Song":{{"S":"{song}"}}}}"#);
    let first = format!(
        r#"{{"Items":[{{"n":{{"N":"0"}}}},{{"n":{{"N":"1"}}}}],"Count":2,"ScannedCount":2,{},{capacity}}}"#,
        last("b")
    );
    server.expect("Query", &page(""), &first).await;
    let second = format!(r#"{{"Items":[{{"n":{{"N":"2"}}}}],"Count":1,"ScannedCount":1,{capacity}}}"#);
    server.expect("Query", &page(&start("b")), &second).await;
    let backward = format!(
        r#"{{"Items":[{{"n":{{"N":"1"}}}},{{"n":{{"N":"0"}}}}],"Count":2,"ScannedCount":2,{},{capacity}}}"#,
        last("a")
    );
    server.expect("Query", &page(&format!(r#","ScanIndexForward":false{}"#, start("c"))), &backward).await;
    let empty = format!(r#"{{"Items":[],"Count":0,"ScannedCount":0,{capacity}}}"#);
    server.expect("Query", &page(&start("c")), &empty).await;
}

#[tokio::test]
async fn filters_see_the_page_and_counts_tell_both() {
    let server = with_music().await;
    put_songs(&server, "x", &["a", "b", "c"]).await;
    let body = r#"{"TableName":"Music","KeyConditionExpression":"Artist = :a","FilterExpression":"n >= :n",
        "ExpressionAttributeValues":{":a":{"S":"x"},":n":{"N":"1"}},"Select":"COUNT","ConsistentRead":true,
        "ReturnConsumedCapacity":"TOTAL"}"#;
    let expected = r#"{"Count":2,"ScannedCount":3,"ConsumedCapacity":{"TableName":"Music","CapacityUnits":1.0}}"#;
    server.expect("Query", body, expected).await;
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let server = with_music().await;
    let query = |condition: &str, values: &str, rest: &str| {
        format!(
            r#"{{"TableName":"Music","KeyConditionExpression":"{condition}","ExpressionAttributeValues":{{{values}}}{rest}}}"#
        )
    };
    let artist = r#"":a":{"S":"x"}"#;
    let start = |artist: &str, song: &str| {
        format!(r#","ExclusiveStartKey":{{"Artist":{{"S":"{artist}"}},"Song":{{"S":"{song}"}}}}"#)
    };
    for (body, sentence) in [
        (
            r#"{"TableName":"Music"}"#.to_owned(),
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ),
        (query("Song = :a", artist, ""), "Query condition missed key schema element: Artist"),
        (query("Artist > :a", artist, ""), "Query key condition not supported"),
        (
            query("Artist = :a AND n = :b", r#"":a":{"S":"x"},":b":{"N":"1"}"#, ""),
            "Query condition missed key schema element: Song",
        ),
        (query("Artist = :a OR Song = :a", artist, ""), "Invalid operator used in KeyConditionExpression: OR"),
        (
            query("Artist = :a", r#"":a":{"N":"1"}"#, ""),
            "One or more parameter values were invalid: Condition parameter type does not match schema type",
        ),
        (
            query("Artist = :a", r#"":a":{"S":""}"#, ""),
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
             string value. Key: Artist",
        ),
        (
            query("Artist = :a", artist, r#","FilterExpression":"Song = :a""#),
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: Song",
        ),
        (query("Artist = :a", artist, r#","IndexName":"abc""#), "The table does not have the specified index: abc"),
        (
            query("Artist = :a", artist, r#","Select":"SPECIFIC_ATTRIBUTES""#),
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
        ),
        (
            query("Artist = :a", artist, r#","Select":"COUNT","ProjectionExpression":"n""#),
            "Cannot specify the ProjectionExpression when choosing to get only the Count",
        ),
        (query("Artist = :a", artist, r#","ExclusiveStartKey":{}"#), "The provided starting key is invalid"),
        (
            query("Artist = :a", artist, r#","ExclusiveStartKey":{"Artist":{}}"#),
            "The provided starting key is invalid: Supplied AttributeValue is empty, must contain exactly one of the \
             supported datatypes",
        ),
        (
            query("Artist = :a", artist, &start("y", "a")),
            "The provided starting key is outside query boundaries based on provided conditions",
        ),
        (
            query("Artist = :a AND Song > :b", r#"":a":{"S":"x"},":b":{"S":"m"}"#, &start("x", "a")),
            "The provided starting key does not match the range key predicate",
        ),
    ] {
        server.expect_invalid("Query", &body, sentence).await;
    }
}

#[tokio::test]
async fn segments_cover_the_table_once() {
    let server = with_music().await;
    let client = server.client();
    for artist in 0..50 {
        client
            .put_item()
            .table_name("Music")
            .item("Artist", AttributeValue::S(format!("artist {artist}")))
            .item("Song", AttributeValue::S("s".to_owned()))
            .send()
            .await
            .unwrap();
    }
    for total in [1, 3, 1000] {
        let mut seen = BTreeSet::new();
        for segment in 0..total {
            let mut pages = client
                .scan()
                .table_name("Music")
                .segment(segment)
                .total_segments(total)
                .limit(7)
                .into_paginator()
                .send();
            while let Some(page) = pages.next().await {
                let items = page.unwrap().items.unwrap_or_default();
                let artists: BTreeSet<String> =
                    items.iter().map(|item| item["Artist"].as_s().unwrap().clone()).collect();
                assert!(seen.is_disjoint(&artists) && artists.len() == items.len(), "{artists:?} twice");
                seen.extend(artists);
            }
        }
        assert_eq!(seen.len(), 50, "{total} segments");
    }
}

#[tokio::test]
async fn scans_that_make_no_sense_are_refused() {
    let server = with_music().await;
    let scan = |rest: &str| format!(r#"{{"TableName":"Music",{rest}}}"#);
    for (rest, sentence) in [
        (
            r#""Segment":0"#,
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
        ),
        (
            r#""TotalSegments":1"#,
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is present",
        ),
        (
            r#""Segment":2,"TotalSegments":2"#,
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 2 is not less than \
             TotalSegments: 2",
        ),
        (
            r#""ExclusiveStartKey":{"Artist":{"S":"a"}}"#,
            "The provided starting key is invalid: The provided key element does not match the schema",
        ),
    ] {
        server.expect_invalid("Scan", &scan(rest), sentence).await;
    }
    let key = |segment: u8| {
        format!(
            r#""ExclusiveStartKey":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}}}},"Segment":{segment},"TotalSegments":2"#
        )
    };
    let answers = [server.post("Scan", &scan(&key(0))).await, server.post("Scan", &scan(&key(1))).await];
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let refused = answers.iter().find(|answer| answer.status == 400).unwrap();
    let sentence = "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with \
                    correct Segment. TotalSegments: 2 Segment: ";
    assert!(refused.body.contains(sentence), "{}", refused.body);
}

#[tokio::test]
async fn a_page_ends_after_a_megabyte() {
    let server = with_music().await;
    let filling = "f".repeat(400_000);
    for song in ["a", "b", "c", "d"] {
        let body = format!(
            r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"x"}},"Song":{{"S":"{song}"}},"f":{{"S":"{filling}"}}}}}}"#
        );
        assert_eq!(server.post("PutItem", &body).await.status, 200);
    }
    let body = r#"{"TableName":"Music","Select":"COUNT","ReturnConsumedCapacity":"TOTAL"}"#;
    let expected = concat!(
        r#"{"Count":3,"ScannedCount":3,"LastEvaluatedKey":{"Artist":{"S":"x"},"Song":{"S":"c"}},"#,
        r#""ConsumedCapacity":{"TableName":"Music","CapacityUnits":146.5}}"#
    );
    server.expect("Scan", body, expected).await;
}

#[tokio::test]
async fn numbers_sort_as_numbers() {
    let server = Server::open().await;
    let create = r#"{"TableName":"Numbers","BillingMode":"PAY_PER_REQUEST",
        "AttributeDefinitions":[{"AttributeName":"p","AttributeType":"B"},{"AttributeName":"s","AttributeType":"N"}],
        "KeySchema":[{"AttributeName":"p","KeyType":"HASH"},{"AttributeName":"s","KeyType":"RANGE"}]}"#;
    assert_eq!(server.post("CreateTable", create).await.status, 200);
    for number in ["10", "-1.5", "0", "9", "-100"] {
        let body = format!(r#"{{"TableName":"Numbers","Item":{{"p":{{"B":"AA=="}},"s":{{"N":"{number}"}}}}}}"#);
        assert_eq!(server.post("PutItem", &body).await.status, 200);
    }
    let query = |condition: &str| {
        format!(
            r#"{{"TableName":"Numbers","KeyConditionExpression":"p = :p AND {condition}","ProjectionExpression":"s",
                "ExpressionAttributeValues":{{":p":{{"B":"AA=="}},":s":{{"N":"-1.50"}}}}}}"#
        )
    };
    for (condition, items) in [
        ("s < :s", r#"{"s":{"N":"-100"}}"#),
        ("s <= :s", r#"{"s":{"N":"-100"}},{"s":{"N":"-1.5"}}"#),
        (":s < s", r#"{"s":{"N":"0"}},{"s":{"N":"9"}},{"s":{"N":"10"}}"#),
        ("s BETWEEN :s AND :s", r#"{"s":{"N":"-1.5"}}"#),
    ] {
        let count = items.matches("\"s\"").count();
        let expected = format!(r#"{{"Items":[{items}],"Count":{count},"ScannedCount":{count}}}"#);
        server.expect("Query", &query(condition), &expected).await;
    }
    let sentence = "Invalid KeyConditionExpression: Incorrect operand type for operator or function; operator or function: \
                    begins_with, operand type: N";
    server.expect_invalid("Query", &query("begins_with(s, :s)"), sentence).await;
}
