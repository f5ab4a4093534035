//! What is asked for: the bodies of each scenario's requests, and what an answer must at least be.

use std::ops::RangeInclusive;

use clap::ValueEnum;

use super::load::Kind;
use super::request::Signer;
use crate::random::Random;

/// The table with a hash key alone, for everything but queries.
pub const TABLE: &str = "bench";
/// The table with a sort key, for queries.
pub const COLLECTIONS: &str = "bench-collections";
/// The key that all conditional updates share, and its counter.
pub const HOT_KEY: &str = "hot";
pub const COUNTER: &str = "n";

const KEY_BYTES: u64 = 12;
const QUERIED: u64 = 20;
const BATCH: u64 = 25;
/// DynamoDB ends a page there.
const PAGE_BYTES: u64 = 1 << 20;
/// More items than this are not loaded, so that the client's requests fit into memory.
const LOADED_BYTES: u64 = 64 << 20;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// PutItem.
    Put,
    /// GetItem with ConsistentRead.
    StrongGet,
    /// GetItem without.
    EventualGet,
    /// UpdateItem with a condition, all on one key.
    HotUpdate,
    /// PutItem and GetItem without ConsistentRead, one as often as the other.
    Mixed,
    /// Query of the 20 items of one collection.
    Query,
    /// BatchWriteItem of 25 puts.
    BatchWrite,
}

/// What the items are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// DynamoDB's size of an item: names and values.
    pub bytes: u64,
    /// How many there are, unless they are large.
    pub wished: u64,
}

/// The tables whose items a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stock {
    Single,
    Collections,
}

impl Scenario {
    pub const ALL: [Scenario; 7] = [
        Scenario::Put,
        Scenario::StrongGet,
        Scenario::EventualGet,
        Scenario::HotUpdate,
        Scenario::Mixed,
        Scenario::Query,
        Scenario::BatchWrite,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scenario::Put => "PutItem",
            Scenario::StrongGet => "GetItem, strong",
            Scenario::EventualGet => "GetItem, eventual",
            Scenario::HotUpdate => "UpdateItem, condition, one key",
            Scenario::Mixed => "PutItem and eventual GetItem, 50/50",
            Scenario::Query => "Query, 20 items, eventual",
            Scenario::BatchWrite => "BatchWriteItem, 25 items",
        }
    }

    pub fn stock(self) -> Stock {
        match self {
            Scenario::Query => Stock::Collections,
            Scenario::Put
            | Scenario::StrongGet
            | Scenario::EventualGet
            | Scenario::HotUpdate
            | Scenario::Mixed
            | Scenario::BatchWrite => Stock::Single,
        }
    }

    /// How many bytes of items a success writes on average; nothing for reads, and for one counter, whose few bytes say nothing.
    pub fn written_bytes(self, items: Items) -> Option<u64> {
        match self {
            Scenario::Put => Some(items.bytes),
            Scenario::Mixed => Some(items.bytes / 2),
            Scenario::BatchWrite => Some(items.bytes * BATCH),
            Scenario::StrongGet | Scenario::EventualGet | Scenario::HotUpdate | Scenario::Query => None,
        }
    }

    /// The requests to choose from.
    pub fn kinds(self, signer: &Signer, items: Items) -> anyhow::Result<Vec<Kind>> {
        match self {
            Scenario::Put => Ok(vec![items.puts(signer, TABLE)?]),
            Scenario::StrongGet => Ok(vec![items.gets(signer, "true")?]),
            Scenario::EventualGet => Ok(vec![items.gets(signer, "false")?]),
            Scenario::HotUpdate => {
                Ok(vec![Kind { requests: vec![signer.request("UpdateItem", &hot_update())?], body_bytes: NOTHING }])
            }
            Scenario::Mixed => Ok(vec![items.puts(signer, TABLE)?, items.gets(signer, "false")?]),
            Scenario::Query => Ok(vec![items.queries(signer)?]),
            Scenario::BatchWrite => Ok(vec![items.batches(signer)?]),
        }
    }
}

/// The answer of a write: `{}`.
const NOTHING: RangeInclusive<usize> = 0..=2;

impl Items {
    pub fn count(self) -> u64 {
        let count = self.wished.min(LOADED_BYTES / self.bytes.max(1));
        // Whole collections and whole batches.
        (count / (QUERIED * 5)).max(1) * QUERIED * 5
    }

    /// One PutItem for each item of a table without a sort key.
    pub fn puts(self, signer: &Signer, table: &str) -> anyhow::Result<Kind> {
        let body = |number| format!(r#"{{"TableName":"{table}","Item":{}}}"#, self.item(number));
        self.of_every(self.count(), signer, "PutItem", &body, NOTHING)
    }

    /// One PutItem for each item of the table of collections.
    pub fn collection_puts(self, signer: &Signer) -> anyhow::Result<Kind> {
        let body = |number| {
            let (collection, place) = (key(number / QUERIED), number % QUERIED);
            format!(
                r#"{{"TableName":"{COLLECTIONS}","Item":{{"key":{{"S":"{collection}"}},"sort":{{"S":"{place:02}"}},"value":{{"S":"{}"}}}}}}"#,
                value(number, self.value_bytes() - ("sort".len() + 2) as u64)
            )
        };
        self.of_every(self.count(), signer, "PutItem", &body, NOTHING)
    }

    fn gets(self, signer: &Signer, strong: &str) -> anyhow::Result<Kind> {
        let body = |number| {
            let key = key(number);
            format!(r#"{{"TableName":"{TABLE}","Key":{{"key":{{"S":"{key}"}}}},"ConsistentRead":{strong}}}"#)
        };
        self.of_every(self.count(), signer, "GetItem", &body, at_least(self.value_bytes()))
    }

    fn queries(self, signer: &Signer) -> anyhow::Result<Kind> {
        let body = |collection| {
            format!(
                concat!(
                    r##"{{"TableName":"{}","KeyConditionExpression":"#k = :k","ExpressionAttributeNames":{{"#k":"key"}},"##,
                    r#""ExpressionAttributeValues":{{":k":{{"S":"{}"}}}}}}"#
                ),
                COLLECTIONS,
                key(collection)
            )
        };
        let in_a_page = QUERIED.min(PAGE_BYTES / self.bytes);
        let shortest = in_a_page * (self.value_bytes() - ("sort".len() + 2) as u64);
        self.of_every(self.count() / QUERIED, signer, "Query", &body, at_least(shortest))
    }

    fn batches(self, signer: &Signer) -> anyhow::Result<Kind> {
        let body = |batch| {
            let items = (batch * BATCH..(batch + 1) * BATCH).map(|number| self.item(number));
            let puts: Vec<String> = items.map(|item| format!(r#"{{"PutRequest":{{"Item":{item}}}}}"#)).collect();
            format!(r#"{{"RequestItems":{{"{TABLE}":[{}]}}}}"#, puts.join(","))
        };
        // What was left unprocessed would stand in the answer.
        let all_processed = 0..=r#"{"UnprocessedItems":{}}"#.len();
        self.of_every(self.count() / BATCH, signer, "BatchWriteItem", &body, all_processed)
    }

    fn of_every(
        self,
        count: u64,
        signer: &Signer,
        operation: &str,
        body: &dyn Fn(u64) -> String,
        body_bytes: RangeInclusive<usize>,
    ) -> anyhow::Result<Kind> {
        let requests =
            (0..count).map(|number| signer.request(operation, &body(number))).collect::<anyhow::Result<_>>()?;
        Ok(Kind { requests, body_bytes })
    }

    fn value_bytes(self) -> u64 {
        self.bytes.saturating_sub("key".len() as u64 + KEY_BYTES + "value".len() as u64)
    }

    fn item(self, number: u64) -> String {
        format!(r#"{{"key":{{"S":"{}"}},"value":{{"S":"{}"}}}}"#, key(number), value(number, self.value_bytes()))
    }
}

fn at_least(bytes: u64) -> RangeInclusive<usize> {
    usize::try_from(bytes).unwrap_or(usize::MAX)..=usize::MAX
}

fn key(number: u64) -> String {
    format!("k{number:011}")
}

/// Letters that compression finds nothing in: an item is as large on the disk as it is called.
fn value(number: u64, bytes: u64) -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut random = Random(number);
    let letter = |place: u64| usize::try_from(place).map_or('a', |place| char::from(LETTERS[place]));
    (0..bytes).map(|_| letter(random.below(64))).collect()
}

fn hot_update() -> String {
    format!(
        concat!(
            r#"{{"TableName":"{}","Key":{{"key":{{"S":"{}"}}}},"UpdateExpression":"SET {} = {} + :one","#,
            r#""ConditionExpression":"{} >= :zero","#,
            r#""ExpressionAttributeValues":{{":one":{{"N":"1"}},":zero":{{"N":"0"}}}}}}"#
        ),
        TABLE, HOT_KEY, COUNTER, COUNTER, COUNTER
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const ITEMS: Items = Items { bytes: 1024, wished: 200 };

    fn bodies(kind: &Kind) -> Vec<String> {
        let body = |request: &Vec<u8>| {
            String::from_utf8(request.clone()).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        kind.requests.iter().map(body).collect()
    }

    fn signer() -> Signer {
        Signer { address: "127.0.0.1:8123".into(), time: SystemTime::UNIX_EPOCH }
    }

    fn sizes(body: &str) -> Vec<usize> {
        let value = |rest: &str| rest.split('"').next().unwrap().len();
        body.split(r#""value":{"S":""#).skip(1).map(value).collect()
    }

    #[test]
    fn items_are_as_large_as_they_are_called() {
        let puts = bodies(&ITEMS.puts(&signer(), TABLE).unwrap());
        assert_eq!(puts.len(), 200);
        assert_eq!(sizes(&puts[7]), ["keyvalue".len().abs_diff(1024) - key(7).len()]);
        let collections = bodies(&ITEMS.collection_puts(&signer()).unwrap());
        assert_eq!(sizes(&collections[7]), ["keyvaluesort07".len().abs_diff(1024) - key(0).len()]);
        assert!(collections[27].contains(r#""key":{"S":"k00000000001"},"sort":{"S":"07"}"#));
    }

    #[test]
    fn bodies_say_what_they_are_named_for() {
        let kinds = |scenario: Scenario| scenario.kinds(&signer(), ITEMS).unwrap();
        let first = |scenario| bodies(&kinds(scenario)[0])[0].clone();
        let get = r#"{"TableName":"bench","Key":{"key":{"S":"k00000000000"}},"ConsistentRead":true}"#;
        assert_eq!(first(Scenario::StrongGet), get);
        assert_eq!(first(Scenario::EventualGet), get.replace("true", "false"));
        assert!(first(Scenario::HotUpdate).contains(r#""SET n = n + :one","ConditionExpression":"n >= :zero""#));
        assert_eq!(kinds(Scenario::Mixed).len(), 2);
        assert!(first(Scenario::Query).contains(r##""#k = :k","ExpressionAttributeNames":{"#k":"key"}"##));
        assert_eq!(sizes(&first(Scenario::BatchWrite)), [1004; 25]);
        let counts = |scenario: Scenario| kinds(scenario)[0].requests.len();
        assert_eq!((counts(Scenario::Query), counts(Scenario::BatchWrite), counts(Scenario::HotUpdate)), (10, 8, 1));
    }

    #[test]
    fn an_answer_without_the_items_is_too_short() {
        let shortest = |scenario: Scenario, items| *scenario.kinds(&signer(), items).unwrap()[0].body_bytes.start();
        assert_eq!(shortest(Scenario::StrongGet, ITEMS), 1004);
        assert_eq!(shortest(Scenario::Query, ITEMS), 20 * 998);
        // A page of large items ends before the collection does.
        let large = Items { bytes: 100 << 10, wished: 100 };
        assert_eq!(shortest(Scenario::Query, large), 10 * (102_400 - 26));
    }

    #[test]
    fn large_items_are_fewer() {
        assert_eq!(Items { bytes: 1024, wished: 20_000 }.count(), 20_000);
        assert_eq!(Items { bytes: 100 << 10, wished: 20_000 }.count(), 600);
    }
}
