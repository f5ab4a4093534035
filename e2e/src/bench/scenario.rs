//! What is asked for: the bodies of each scenario's requests, and what an answer must at least be.

use clap::ValueEnum;

use super::request::Signer;
use crate::random::Random;

pub const TABLE: &str = "bench";
/// The key that all conditional updates share, and its counter.
pub const HOT_KEY: &str = "hot";
pub const COUNTER: &str = "n";
/// DynamoDB's size of an item: names and values.
const ITEM_BYTES: usize = 1024;
const KEY_BYTES: usize = 12;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// PutItem, 1 KB, uniform keys.
    Put,
    /// GetItem with ConsistentRead, 1 KB, uniform keys.
    StrongGet,
    /// GetItem without, 1 KB, uniform keys.
    EventualGet,
    /// UpdateItem with a condition, all on one key.
    HotUpdate,
}

impl Scenario {
    pub const ALL: [Scenario; 4] = [Scenario::Put, Scenario::StrongGet, Scenario::EventualGet, Scenario::HotUpdate];

    pub fn name(self) -> &'static str {
        match self {
            Scenario::Put => "PutItem",
            Scenario::StrongGet => "GetItem, strong",
            Scenario::EventualGet => "GetItem, eventual",
            Scenario::HotUpdate => "UpdateItem, condition, one key",
        }
    }

    /// How long the body of a success is at least: a get that found nothing is shorter.
    pub fn shortest_answer(self) -> usize {
        match self {
            Scenario::Put | Scenario::HotUpdate => 0,
            Scenario::StrongGet | Scenario::EventualGet => value_bytes(),
        }
    }

    /// The requests to choose from, one per key.
    pub fn requests(self, signer: &Signer, keys: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let of_every_key = |operation: &str, body: &dyn Fn(u64) -> String| {
            (0..keys).map(|number| signer.request(operation, &body(number))).collect()
        };
        match self {
            Scenario::Put => of_every_key("PutItem", &put),
            Scenario::StrongGet => of_every_key("GetItem", &|number| get(number, true)),
            Scenario::EventualGet => of_every_key("GetItem", &|number| get(number, false)),
            Scenario::HotUpdate => Ok(vec![signer.request("UpdateItem", &hot_update())?]),
        }
    }
}

fn value_bytes() -> usize {
    ITEM_BYTES - "key".len() - KEY_BYTES - "value".len()
}

fn key(number: u64) -> String {
    format!("k{number:011}")
}

fn put(number: u64) -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    // Compression must not make the item smaller than it is called.
    let mut random = Random(number);
    let letter = |place: u64| usize::try_from(place).map_or('a', |place| char::from(LETTERS[place]));
    let value: String = (0..value_bytes()).map(|_| letter(random.below(64))).collect();
    format!(r#"{{"TableName":"{TABLE}","Item":{{"key":{{"S":"{}"}},"value":{{"S":"{value}"}}}}}}"#, key(number))
}

fn get(number: u64, strong: bool) -> String {
    format!(r#"{{"TableName":"{TABLE}","Key":{{"key":{{"S":"{}"}}}},"ConsistentRead":{strong}}}"#, key(number))
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
    use super::*;

    #[test]
    fn an_item_is_as_large_as_it_is_called() {
        let body = put(7);
        let value = body.split(r#""value":{"S":""#).nth(1).unwrap().split('"').next().unwrap();
        assert_eq!("key".len() + key(7).len() + "value".len() + value.len(), ITEM_BYTES);
        assert!(Scenario::StrongGet.shortest_answer() > ITEM_BYTES - 64);
    }

    #[test]
    fn bodies_say_what_they_are_named_for() {
        assert_eq!(get(3, true), r#"{"TableName":"bench","Key":{"key":{"S":"k00000000003"}},"ConsistentRead":true}"#);
        assert!(hot_update().contains(r#""UpdateExpression":"SET n = n + :one","ConditionExpression":"n >= :zero""#));
    }
}
