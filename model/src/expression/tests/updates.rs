//! What updates make of items, and those that an item refuses.

use super::*;

fn example() -> Item {
    item([
        ("tally", n("1")),
        ("label", s("x")),
        ("letters", l([n("1"), n("2"), n("3"), n("4")])),
        ("info", m([("a", n("1")), ("beads", l([m([("v", s("p"))]), m([("v", s("q"))])]))])),
        ("tags", ss(["a", "b"])),
        ("nums", ns(["1", "2"])),
    ])
}

fn values() -> Placeholders {
    let mut deep = n("1");
    for _ in 0..31 {
        deep = l([deep]);
    }
    placeholders(
        [],
        [
            (":one", n("1")),
            (":ten", n("10")),
            (":small", n("0.1")),
            (":huge", n("9.9E+125")),
            (":x", s("new")),
            (":empty", l([])),
            (":tail", l([n("9")])),
            (":b", ss(["b"])),
            (":ab", ss(["a", "b"])),
            (":bc", ss(["c", "b"])),
            (":n2", ns(["2"])),
            (":deep", deep),
        ],
    )
}

fn apply(text: &str) -> Result<Item, String> {
    let parsed = Update::parse(text, &mut values()).expect(text);
    let decoded = Update::decode(parsed.encode()).expect(text);
    assert_eq!(decoded, parsed);
    decoded.apply(&example()).map_err(|error| error.0)
}

/// `changed` are the attributes after the update that differ from before, those without a value are gone.
fn check<const N: usize>(text: &str, changed: [(&str, Option<Value>); N]) {
    let mut expected = example();
    for (name, value) in changed {
        match value {
            Some(value) => expected.insert(name.to_owned(), value),
            None => expected.remove(name),
        };
    }
    assert_eq!(apply(text), Ok(expected), "{text}");
}

#[test]
fn set_writes_attributes_fields_and_elements() {
    check("SET a = :x, tally = :ten", [("a", Some(s("new"))), ("tally", Some(n("10")))]);
    let info = |a: Option<Value>, v: &str| {
        let mut fields = item([("beads", l([m([("v", s("p"))]), m([("v", s(v))])]))]);
        fields.extend(a.map(|a| ("a".to_owned(), a)));
        Some(Value::M(fields))
    };
    check("SET info.a = :x, info.beads[1].v = :x", [("info", info(Some(s("new")), "new"))]);
    check("set letters[1] = :x", [("letters", Some(l([n("1"), s("new"), n("3"), n("4")])))]);
    check("REMOVE info.a, info.gone, gone", [("info", info(None, "q"))]);
}

#[test]
fn operands_see_the_item_as_it_was() {
    check("SET tally = :ten, a = tally", [("tally", Some(n("10"))), ("a", Some(n("1")))]);
    check("SET label = tally, tally = label", [("label", Some(n("1"))), ("tally", Some(s("x")))]);
    check("REMOVE label SET b = label", [("label", None), ("b", Some(s("x")))]);
    check(
        "REMOVE letters[0] SET a = letters[1]",
        [("letters", Some(l([n("2"), n("3"), n("4")]))), ("a", Some(n("2")))],
    );
}

#[test]
fn numbers_add_up_exactly() {
    check("SET tally = tally + :small", [("tally", Some(n("1.1")))]);
    check("SET tally = (tally - :ten)", [("tally", Some(n("-9")))]);
    check("SET a = if_not_exists(a, :ten) + :one", [("a", Some(n("11")))]);
    check("ADD tally :ten, fresh :ten", [("tally", Some(n("11"))), ("fresh", Some(n("10")))]);
    assert_eq!(
        apply("SET a = :huge + :huge"),
        Err("Number overflow. Attempting to store a number with magnitude larger than supported range".to_owned())
    );
}

#[test]
fn functions_default_and_append() {
    check("SET tally = if_not_exists(tally, :ten), a = if_not_exists(gone, :x)", [("a", Some(s("new")))]);
    check("SET a = if_not_exists(b, if_not_exists(c, label))", [("a", Some(s("x")))]);
    check("SET letters = list_append(:tail, letters)", [("letters", Some(l(["9", "1", "2", "3", "4"].map(n))))]);
    check("SET a = list_append(if_not_exists(a, :empty), :tail)", [("a", Some(l([n("9")])))]);
}

#[test]
fn elements_set_past_the_end_are_appended_in_order() {
    check(
        "SET letters[50] = :x, letters[40] = :ten, letters[4] = :one",
        [("letters", Some(l([n("1"), n("2"), n("3"), n("4"), n("1"), n("10"), s("new")])))],
    );
}

#[test]
fn removed_elements_close_up_after_all_is_set() {
    check("REMOVE letters[0], letters[2], letters[9]", [("letters", Some(l([n("2"), n("4")])))]);
    check(
        "REMOVE letters[0] SET letters[1] = :x, letters[7] = :ten",
        [("letters", Some(l([s("new"), n("3"), n("4"), n("10")])))],
    );
}

#[test]
fn sets_grow_shrink_and_vanish() {
    check("ADD tags :bc", [("tags", Some(ss(["a", "b", "c"])))]);
    check("ADD fresh :bc", [("fresh", Some(ss(["b", "c"])))]);
    check("DELETE tags :b, nums :n2, gone :b", [("tags", Some(ss(["a"]))), ("nums", Some(ns(["1"])))]);
    check("DELETE tags :ab", [("tags", None)]);
    check(
        "ADD info.seen :b DELETE gone :b",
        [(
            "info",
            Some(m([("a", n("1")), ("seen", ss(["b"])), ("beads", l([m([("v", s("p"))]), m([("v", s("q"))])]))])),
        )],
    );
}

#[test]
fn a_missing_item_is_an_empty_one() {
    let parsed = Update::parse("SET a = :one ADD c :one DELETE d :b REMOVE e", &mut values()).unwrap();
    assert_eq!(parsed.apply(&Item::new()), Ok(item([("a", n("1")), ("c", n("1"))])));
}

#[test]
fn what_does_not_fit_the_item_is_refused() {
    let path = "The document path provided in the update expression is invalid for update";
    let wrong_type = "An operand in the update expression has an incorrect data type";
    let missing = "The provided expression refers to an attribute that does not exist in the item";
    for (text, sentence) in [
        ("SET a = gone", missing),
        ("SET a = gone + :one", missing),
        ("SET a = letters[9]", missing),
        ("SET a = list_append(gone, :tail)", missing),
        ("SET a = label + :one", wrong_type),
        ("SET a = gone + label", wrong_type),
        ("SET a = list_append(label, :tail)", wrong_type),
        ("ADD label :one", wrong_type),
        ("ADD tags :one", wrong_type),
        ("ADD nums :b", wrong_type),
        ("DELETE nums :b", wrong_type),
        ("DELETE label :b", wrong_type),
        ("SET gone.a = :one", path),
        ("SET info[0] = :one", path),
        ("SET letters.a = :one", path),
        ("SET label.a = :one", path),
        ("SET info.a.b.c = :one", path),
        ("REMOVE gone.a", path),
        ("REMOVE letters.a", path),
        ("ADD gone.a :one", path),
        ("DELETE gone.a :b", path),
        // Which complaint comes first.
        ("SET a = label + :one, letters.a = :one", path),
        ("SET a = label + :one, gone.a = :one", wrong_type),
        ("SET a = gone, gone.a = :one", path),
        ("REMOVE gone.a SET a = gone", missing),
        ("SET a = gone REMOVE gone.a", path),
    ] {
        assert_eq!(apply(text), Err(sentence.to_owned()), "{text}");
    }
}

#[test]
fn nesting_ends_at_32_levels() {
    assert!(apply("SET a = :deep").is_ok());
    assert!(apply("SET letters[0] = :deep").is_ok());
    assert_eq!(
        apply("SET info.beads[0] = :deep"),
        Err("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond \
             supported limit"
            .to_owned())
    );
}

#[test]
fn an_update_tells_its_targets() {
    let parsed = Update::parse("SET a = tally, info.a = :one REMOVE letters[3] ADD c :one", &mut values()).unwrap();
    let targets: Vec<String> = parsed.targets().into_iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["[a]", "[info, a]", "[letters, [3]]", "[c]"]);
}

#[test]
fn a_large_value_used_often_stays_small_on_its_way_and_is_refused_before_it_grows() {
    let large = "x".repeat(300_000);
    let mut values = placeholders([], [(":large", s(&large))]);
    let everywhere: Vec<String> = (0..200).map(|index| format!("a{index} = :large")).collect();
    let update = Update::parse(&format!("SET {}", everywhere.join(",")), &mut values).unwrap();
    assert!(update.encode().len() < 310_000);
    assert_eq!(
        Update::decode(update.encode()).unwrap().apply(&Item::new()).unwrap_err().0,
        "Item size to update has exceeded the maximum allowed size"
    );

    let mut names = placeholders([], []);
    names.names.insert("#n".to_owned(), "n".repeat(60_000));
    let paths: Vec<String> = (0..100).map(|index| format!("a{index}.#n")).collect();
    let refused = Projection::parse(&paths.join(","), &mut names).unwrap_err().0;
    assert!(refused.starts_with("Invalid ProjectionExpression: Expression size has exceeded"), "{refused}");
}
