//! What values cost: items and keys to bytes and back, and an update's evaluation.

use std::collections::BTreeMap;

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use model::expression::{Placeholders, Update};
use model::item::{decode_attributes, encode_attributes};
use model::key::{decode_key, encode_key};
use model::{Item, Number, Value};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn number(text: &str) -> Value {
    Value::N(Number::parse(text).expect("a number"))
}

/// About a kilobyte in ten attributes of several types.
fn item() -> Item {
    let mut item = Item::new();
    item.insert("pk".to_owned(), Value::S("customer-4711".to_owned()));
    item.insert("sk".to_owned(), number("20261123"));
    item.insert("count".to_owned(), number("41"));
    item.insert("tags".to_owned(), Value::Ss(vec!["blue".to_owned(), "green".to_owned(), "red".to_owned()]));
    item.insert("open".to_owned(), Value::Bool(true));
    let address = [("city", "Bern"), ("street", "Kramgasse 49")];
    let address = address.map(|(name, value)| (name.to_owned(), Value::S(value.to_owned())));
    item.insert("address".to_owned(), Value::M(Item::from(address)));
    for name in ["a", "b", "c", "d"] {
        item.insert(format!("text-{name}"), Value::S("x".repeat(200)));
    }
    item
}

#[divan::bench]
fn encode_item(bencher: Bencher<'_, '_>) {
    let item = item();
    bencher.bench(|| encode_attributes(black_box(&item)));
}

#[divan::bench]
fn decode_item(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(encode_attributes(&item()));
    bencher.bench(|| decode_attributes(black_box(&bytes)));
}

#[divan::bench]
fn encode_item_key(bencher: Bencher<'_, '_>) {
    let item = item();
    bencher.bench(|| encode_key(black_box(5), &item["pk"], Some(&item["sk"])));
}

#[divan::bench]
fn decode_item_key(bencher: Bencher<'_, '_>) {
    let item = item();
    let key = encode_key(5, &item["pk"], Some(&item["sk"]));
    bencher.bench(|| decode_key(black_box(&key)));
}

/// As a leader does it: the update is decoded, the old item is decoded, the new one encoded.
#[divan::bench]
fn evaluate_update(bencher: Bencher<'_, '_>) {
    let values = BTreeMap::from([(":one".to_owned(), number("1")), (":city".to_owned(), Value::S("Basel".to_owned()))]);
    let names = BTreeMap::from([("#count".to_owned(), "count".to_owned())]);
    let mut placeholders = Placeholders::new(names, values);
    let text = "SET #count = #count + :one, address.city = :city REMOVE tags";
    let update = Update::parse(text, &mut placeholders).expect("an update").encode();
    let old = Bytes::from(encode_attributes(&item()));
    bencher.bench(|| {
        let update = Update::decode(update.clone()).expect("it was encoded");
        let old = decode_attributes(&old).expect("it was encoded");
        encode_attributes(&update.apply(&old).expect("it applies"))
    });
}

/// The same text from the request's JSON to the bytes that travel.
#[divan::bench]
fn parse_update(bencher: Bencher<'_, '_>) {
    let values = BTreeMap::from([(":one".to_owned(), number("1")), (":city".to_owned(), Value::S("Basel".to_owned()))]);
    let names = BTreeMap::from([("#count".to_owned(), "count".to_owned())]);
    let text = "SET #count = #count + :one, address.city = :city REMOVE tags";
    bencher.with_inputs(|| Placeholders::new(names.clone(), values.clone())).bench_values(|mut placeholders| {
        Update::parse(black_box(text), &mut placeholders).expect("an update").encode()
    });
}
