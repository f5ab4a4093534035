//! Hostile bytes and texts against everything that this room reads: nothing panics, nothing takes more memory than it may,
//! and what is read is what would be written.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use model::codec::Writer;
use model::expression::{Condition, KeyCondition, Placeholders, Projection, Update};
use model::item::{
    attributes_size, decode_attributes, decode_record, decode_value, encode_attributes, encode_record, encode_value,
};
use model::key::{decode_key, encode_key, key_attributes, prefix_end};
use model::value::item_size;
use model::{
    BillingMode, Item, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, Number, PartitionDescriptor, PartitionId,
    ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, TableDescriptor, TableId, TableStatus, Throughput, Value,
    Zone,
};

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "__fuzz__", target, "corpus"].iter().collect()
}

fn number(random: &mut Random) -> Number {
    let digits = random.number();
    let exponent = i32::try_from(random.below(200)).unwrap() - 100;
    let sign = if random.one_of(2) { "-" } else { "" };
    Number::parse(&format!("{sign}{digits}e{exponent}")).unwrap()
}

fn some<T>(random: &mut Random, most: usize, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..random.below(most + 1)).map(|_| make(random)).collect()
}

fn value(random: &mut Random, levels: usize) -> Value {
    let kinds = if levels == 0 { 8 } else { 10 };
    match random.below(kinds) {
        0 => Value::S(random.text(20)),
        1 => Value::N(number(random)),
        2 => Value::B(random.bytes(20).into()),
        3 => Value::Bool(random.one_of(2)),
        4 => Value::Null,
        5 => Value::string_set(some(random, 4, |random| random.text(5))).unwrap_or(Value::Null),
        6 => Value::number_set(some(random, 4, number)).unwrap_or(Value::Null),
        7 => Value::binary_set(some(random, 4, |random| random.bytes(5).into())).unwrap_or(Value::Null),
        8 => Value::M(entries(random, levels - 1)),
        // Now and then a long list of the cheapest values.
        _ if random.one_of(20) => Value::L(vec![Value::Null; random.below(20_000)]),
        _ => Value::L(some(random, 4, |random| value(random, levels - 1))),
    }
}

fn entries(random: &mut Random, levels: usize) -> Item {
    some(random, 4, |random| (random.text(8), value(random, levels))).into_iter().collect()
}

fn key_value(random: &mut Random) -> Value {
    match random.below(3) {
        0 => Value::S(random.text(20)),
        1 => Value::N(number(random)),
        _ => Value::B(random.bytes(20).into()),
    }
}

/// A list of NULLs has a byte for each, and a [`Value`] in memory, and twice that while its vector grows. DynamoDB counts
/// two bytes for each, so that an item of the largest size takes 60 times its size at most.
const ITEM_FACTOR: usize = 3 * size_of::<Value>();

#[test]
fn hostile_items_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("item")).with_factor(ITEM_FACTOR);
    let make = |random: &mut Random| encode_attributes(&entries(random, 5));
    let target = |input: &[u8]| {
        let bytes = Bytes::copy_from_slice(input);
        let size = attributes_size(&bytes);
        if let Ok(item) = decode_attributes(&bytes) {
            assert_eq!(size, Ok(item_size(&item)));
            assert_eq!(encode_attributes(&item), input);
        }
        if let Ok((header, attributes)) = decode_record(&bytes) {
            assert_eq!(encode_record(header, &attributes), input);
        }
        let mut reader = model::codec::Reader::new(bytes);
        if let Ok(value) = decode_value(&mut reader) {
            let mut again = Vec::new();
            encode_value(&value, &mut Writer(&mut again));
            assert_eq!(again, input[..input.len() - reader.left()]);
        }
    };
    let check = bolero::check!(name = "item").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

#[test]
fn hostile_keys_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("key"));
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    let schemas = [KeyType::S, KeyType::N, KeyType::B]
        .map(|key_type| KeySchema { partition: attribute("p", key_type), sort: Some(attribute("s", KeyType::S)) });
    let make = |random: &mut Random| {
        let (partition, sort) = (key_value(random), key_value(random));
        encode_key(random.bits(), &partition, (!random.one_of(3)).then_some(&sort)).to_vec()
    };
    let target = |input: &[u8]| {
        let key = Bytes::copy_from_slice(input);
        if let Ok((partition, sort)) = decode_key(&key) {
            // The hash is the table's affair.
            assert_eq!(encode_key(0, &partition, sort.as_ref())[8..], input[8..]);
        }
        for schema in &schemas {
            drop(key_attributes(schema, &key));
        }
        if let Some(end) = prefix_end(&key) {
            assert!(end > key);
        }
        for range in KeyRange::even(u32::from(input.first().copied().unwrap_or_default())) {
            assert!(KeyRange::ALL.covers(&range));
        }
    };
    let check = bolero::check!(name = "key").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

fn table(random: &mut Random) -> TableDescriptor {
    let key_type = |random: &mut Random| *random.pick(&[KeyType::S, KeyType::N, KeyType::B]);
    let attribute = |random: &mut Random| KeyAttribute { name: random.text(9), key_type: key_type(random) };
    let statuses = [TableStatus::Creating, TableStatus::Active, TableStatus::Updating, TableStatus::Deleting];
    TableDescriptor {
        id: TableId(random.bits()),
        name: random.text(20),
        version: random.number(),
        status: *random.pick(&statuses),
        schema: KeySchema { partition: attribute(random), sort: random.one_of(2).then(|| attribute(random)) },
        hash_seed: random.bits(),
        billing: *random.pick(&[BillingMode::Provisioned, BillingMode::PayPerRequest]),
        throughput: Throughput { read_units: random.number(), write_units: random.number() },
        last_increase_ms: random.number(),
        last_decrease_ms: random.number(),
        decreases_today: random.number(),
        last_on_demand_ms: random.number(),
        created_ms: random.number(),
        initial_partitions: u32::try_from(random.below(1000)).unwrap(),
        deletion_protection: random.one_of(2),
        table_class: random.text(9),
        tags: some(random, 4, |random| (random.text(5), random.text(5))),
    }
}

fn partition(random: &mut Random) -> PartitionDescriptor {
    let mut replicas: Vec<ReplicaDescriptor> = some(random, 5, |random| ReplicaDescriptor {
        id: ReplicaId(random.number()),
        node: NodeId(random.bits()),
        zone: Zone(random.text(5)),
        role: *random.pick(&[ReplicaRole::Voter, ReplicaRole::Learner]),
        kind: *random.pick(&[ReplicaKind::Storage, ReplicaKind::Log]),
    });
    replicas.sort_by_key(|replica| replica.id);
    replicas.dedup_by_key(|replica| replica.id);
    PartitionDescriptor {
        id: PartitionId(random.bits()),
        table: TableId(random.bits()),
        range: KeyRange { start: random.bytes(9).into(), end: random.one_of(2).then(|| random.bytes(9).into()) },
        epoch: random.number(),
        replicas,
        next_replica: ReplicaId(random.number()),
    }
}

#[test]
fn hostile_descriptors_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("descriptor"));
    let make = |random: &mut Random| {
        let descriptor = if random.one_of(2) { table(random).encode() } else { partition(random).encode() };
        descriptor.to_vec()
    };
    let target = |input: &[u8]| {
        let bytes = Bytes::copy_from_slice(input);
        if let Ok(table) = TableDescriptor::decode(bytes.clone()) {
            assert_eq!(*table.encode(), *input);
        }
        if let Ok(partition) = PartitionDescriptor::decode(bytes) {
            assert_eq!(*partition.encode(), *input);
        }
    };
    let check = bolero::check!(name = "descriptor").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

/// What expressions are evaluated on.
fn items() -> [Item; 2] {
    let set = |members: &[&str]| Value::Ss(members.iter().map(|&member| member.to_owned()).collect());
    let full = [
        ("n", Value::N(Number::parse("2").unwrap())),
        ("s", Value::S("abc".to_owned())),
        ("b", Value::B(Bytes::from_static(&[0, 255]))),
        ("t", set(&["a", "b"])),
        ("l", Value::L(vec![Value::Null, Value::L(vec![Value::Bool(true)]), set(&["x"])])),
        ("m", Value::M(Item::from([("n".to_owned(), Value::N(Number::parse("-1e-130").unwrap()))]))),
    ];
    [Item::new(), full.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()]
}

/// Placeholders for what texts of the corpus name.
fn placeholders() -> Placeholders {
    let value = |text: &str| Value::S(text.to_owned());
    let number = |text: &str| Value::N(Number::parse(text).unwrap());
    let values = [
        (":s", value("ab")),
        (":n", number("1")),
        (":big", number("9.9e125")),
        (":b", Value::B(Bytes::from_static(b"\0"))),
        (":t", Value::Ss(vec!["a".to_owned()])),
        (":u", Value::Ns(vec![Number::parse("1").unwrap()])),
        (":l", Value::L(vec![Value::Null])),
        (":m", Value::M(Item::new())),
        (":type", value("SS")),
    ];
    let names = [("#n", "n"), ("#m", "m"), ("#odd", "a.b c")];
    let mut placeholders = Placeholders::default();
    placeholders.names.extend(names.map(|(key, name)| (key.to_owned(), name.to_owned())));
    placeholders.values.extend(values.map(|(key, value)| (key.to_owned(), value)));
    placeholders
}

const WORDS: [&str; 40] = [
    "AND",
    " OR ",
    "NOT ",
    "BETWEEN",
    " IN ",
    "SET ",
    "REMOVE ",
    "ADD ",
    "DELETE ",
    "(",
    ")",
    "[",
    "]",
    "[0]",
    "[1]",
    ",",
    ".",
    "+",
    "-",
    "=",
    "<>",
    "<",
    "<=",
    ">=",
    "n",
    "s",
    "l",
    "m.n",
    "#n",
    "#odd",
    ":n",
    ":s",
    ":big",
    ":l",
    ":t",
    "size(",
    "list_append(",
    "if_not_exists(",
    "contains(",
    "[2147483648]",
];

/// Some words in a row: mostly nonsense that comes some way into the parser.
fn words(random: &mut Random) -> Vec<u8> {
    let words: Vec<&str> = (0..random.below(30)).map(|_| *random.pick(&WORDS)).collect();
    words.join(" ").into_bytes()
}

/// The five kinds of expression with one text: parsed, evaluated, sent.
fn each_kind(text: &str) {
    let items = items();
    for kind in ["ConditionExpression", "FilterExpression"] {
        if let Ok(condition) = Condition::parse(kind, text, &mut placeholders()) {
            let sent = Condition::decode(condition.encode()).unwrap();
            assert_eq!(sent, condition);
            for item in &items {
                assert_eq!(sent.matches(item), condition.matches(item));
            }
            condition.paths().iter().for_each(|path| drop(path.to_string()));
        }
    }
    if let Ok(update) = Update::parse(text, &mut placeholders()) {
        let sent = Update::decode(update.encode()).unwrap();
        assert_eq!(sent, update);
        for item in &items {
            if let Ok(new) = sent.apply(item) {
                let encoded = encode_attributes(&new);
                assert_eq!(decode_attributes(&encoded.into()), Ok(new), "an update makes what cannot be read");
            }
        }
    }
    if let Ok(projection) = Projection::parse(text, &mut placeholders()) {
        assert_eq!(Projection::decode(projection.encode()).as_ref(), Ok(&projection));
        items.iter().for_each(|item| drop(projection.project(item)));
    }
    drop(KeyCondition::parse(text, &mut placeholders()));
}

#[test]
fn hostile_expressions_are_refused_or_evaluated() {
    // A text is 4 KiB at most; a token of one character takes 40 bytes, and a node of the tree a hundred or so.
    let fuzz = Fuzz::with_corpus(corpus("expression")).with_pieces(&WORDS).with_factor(200);
    let target = |input: &[u8]| each_kind(&String::from_utf8_lossy(input));
    let check = bolero::check!(name = "expression").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, words, target));
}

/// An expression that parses, encoded.
fn encoded(random: &mut Random) -> Vec<u8> {
    let texts: [&[&str]; 3] = [
        &[
            "n = :n",
            "size(l) > :n AND NOT s BETWEEN :s AND :s",
            "contains(t, :s) OR n IN (:n, :big)",
            "attribute_exists(l[1][0])",
        ],
        &[
            "SET n = n + :n, l[7] = :m REMOVE s ADD t :t",
            "SET l = list_append(l, :l), m.x = if_not_exists(x, :n)",
            "DELETE t :t",
        ],
        &["n, l[1], m.n", "#odd, l[0], l[2]"],
    ];
    let kind = random.below(3);
    let text = random.pick(texts[kind]);
    let mut placeholders = placeholders();
    let bytes = match kind {
        0 => Condition::parse("ConditionExpression", text, &mut placeholders).unwrap().encode(),
        1 => Update::parse(text, &mut placeholders).unwrap().encode(),
        _ => Projection::parse(text, &mut placeholders).unwrap().encode(),
    };
    bytes.to_vec()
}

#[test]
fn hostile_encoded_expressions_are_refused_or_evaluated() {
    // A text has 4096 bytes, and so an expression as many parts; the largest is 150 bytes of memory, and three times that
    // while its list grows.
    let fuzz = Fuzz::with_corpus(corpus("encoded_expression")).with_factor(ITEM_FACTOR).with_constant(4096 * 150 * 3);
    let target = |input: &[u8]| {
        let bytes = Bytes::copy_from_slice(input);
        let items = items();
        if let Ok(condition) = Condition::decode(bytes.clone()) {
            items.iter().for_each(|item| _ = condition.matches(item));
            assert_eq!(Condition::decode(condition.encode()), Ok(condition));
        }
        if let Ok(update) = Update::decode(bytes.clone()) {
            items.iter().for_each(|item| drop(update.apply(item)));
            assert_eq!(Update::decode(update.encode()), Ok(update));
        }
        if let Ok(projection) = Projection::decode(bytes) {
            items.iter().for_each(|item| drop(projection.project(item)));
        }
    };
    let check = bolero::check!(name = "encoded_expression").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, encoded, target));
}

#[test]
fn hostile_numbers_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("number"))
        .with_pieces(&["e", "E+", "E-", ".", "-", "+", "0", "00", "9", "999", "125", "130"]);
    let make = |random: &mut Random| match random.below(2) {
        0 => number(random).to_string().into_bytes(),
        _ => {
            let mut out = Vec::new();
            number(random).encode_ordered(&mut out);
            out
        }
    };
    let target = |input: &[u8]| {
        if let Ok(number) = Number::parse(&String::from_utf8_lossy(input)) {
            assert_eq!(Number::parse(&number.to_string()), Ok(number));
            let mut out = Vec::new();
            number.encode_ordered(&mut out);
            assert_eq!(Number::decode_ordered(&mut &*out), Ok(number));
            for other in [Number::from(1), Number::parse("-9.9e125").unwrap()] {
                assert_eq!(number.checked_add(&other).is_ok(), other.checked_add(&number).is_ok());
                _ = number.checked_sub(&other);
            }
        }
        let mut rest = input;
        if let Ok(number) = Number::decode_ordered(&mut rest) {
            let mut out = Vec::new();
            number.encode_ordered(&mut out);
            assert_eq!(out, input[..input.len() - rest.len()]);
            assert_eq!(Number::parse(&number.to_string()), Ok(number));
        }
    };
    let check = bolero::check!(name = "number").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}
