//! What is in a table: so many megabytes, in large items, as fast as they go.

use std::time::SystemTime;

use crate::bench::load::{self, Kind};
use crate::bench::request::Signer;
use crate::random::Random;

/// Of one item's value: large, so that many megabytes are few requests.
const ITEM_BYTES: usize = 64 << 10;
/// Items whose requests are in memory at a time.
const BATCH: u64 = 512;
/// What values are cut from: far longer than what a compressor looks back upon.
const TEXT_BYTES: usize = 4 << 20;
/// `{}`
const NOTHING: std::ops::RangeInclusive<usize> = 0..=2;

/// Puts items of so many megabytes in all, each until it has succeeded.
pub async fn fill(address: &str, table: &str, megabytes: u64) -> anyhow::Result<()> {
    let text = text();
    let items = (megabytes * 1_000_000).div_ceil(ITEM_BYTES as u64);
    let mut next = 0;
    while next < items {
        let until = items.min(next + BATCH);
        let signer = Signer { address: address.to_owned(), time: SystemTime::now() };
        let requests = (next..until).map(|number| signer.request("PutItem", &put(table, &text, number)));
        let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
        load::every_once(address, Kind { requests, body_bytes: NOTHING }).await?;
        next = until;
    }
    Ok(())
}

fn put(table: &str, text: &str, number: u64) -> String {
    let begin = Random(number).below((text.len() - ITEM_BYTES) as u64);
    let begin = usize::try_from(begin).unwrap_or(0);
    let value = &text[begin..begin + ITEM_BYTES];
    format!(r#"{{"TableName":"{table}","Item":{{"key":{{"S":"stock-{number:08}"}},"value":{{"S":"{value}"}}}}}}"#)
}

/// Letters without an order.
fn text() -> String {
    let mut random = Random(1);
    let letter = |number: u64| u8::try_from(number).map_or('a', |number| char::from(b'!' + number));
    // Neither the quote nor the backslash, which JSON would write as two.
    let letters = std::iter::repeat_with(|| letter(random.below(90))).filter(|letter| !['"', '\\'].contains(letter));
    letters.take(TEXT_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_large_and_differ() {
        let text = text();
        let (one, other) = (put("t", &text, 1), put("t", &text, 2));
        let value = |body: &str| body.split('"').rev().nth(1).unwrap().to_owned();
        assert_eq!((value(&one).len(), value(&other).len()), (ITEM_BYTES, ITEM_BYTES));
        assert_ne!(value(&one), value(&other));
        assert!(one.contains(r#"{"key":{"S":"stock-00000001"},"#));
    }
}
