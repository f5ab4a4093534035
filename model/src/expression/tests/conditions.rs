//! Which items satisfy which conditions, and what projections keep.

use super::*;

fn example() -> Item {
    item([
        ("n", n("10")),
        ("s", s("banana")),
        ("b", b(&[1, 2, 3])),
        ("flag", Value::Bool(true)),
        ("nothing", Value::Null),
        ("tags", ss(["red", "green"])),
        ("nums", ns(["1", "5"])),
        ("blobs", bs([b"x", b"yz"])),
        ("letters", l([s("a"), s("b"), n("3"), l([n("4")]), ss(["p", "q"])])),
        ("info", m([("nested", m([("deep", s("x"))])), ("arr", l([m([("v", n("1"))]), m([("v", n("2"))])]))])),
        ("dotted.name", s("yes")),
        ("high", s("\u{1F600}")),
        ("music", s("é𝄞")),
    ])
}

fn values() -> Placeholders {
    placeholders(
        [("#d", "dotted.name")],
        [
            (":one", n("1")),
            (":two", n("2")),
            (":three", n("3")),
            (":five", n("5.0")),
            (":nine", n("9")),
            (":ten", n("1E1")),
            (":twenty", n("20")),
            (":ten_text", s("10")),
            (":ban", s("ban")),
            (":nan", s("nan")),
            (":banana", s("banana")),
            (":cherry", s("cherry")),
            (":red", s("red")),
            (":empty", s("")),
            (":x", s("x")),
            (":yes", s("yes")),
            (":replacement", s("\u{FFFD}")),
            (":low", b(&[1, 2])),
            (":mid", b(&[2, 3])),
            (":true", Value::Bool(true)),
            (":null", Value::Null),
            (":green_red", ss(["green", "red"])),
            (":four", l([n("4")])),
            (":qp", ss(["q", "p"])),
            (":S", s("S")),
            (":SS", s("SS")),
            (":NULL", s("NULL")),
            (":N", s("N")),
        ],
    )
}

fn holds(text: &str) -> bool {
    let parsed = Condition::parse("ConditionExpression", text, &mut values()).expect(text);
    let decoded = Condition::decode(parsed.encode()).expect(text);
    assert_eq!(decoded, parsed);
    decoded.matches(&example())
}

#[test]
fn these_conditions_hold() {
    for text in [
        "n > :nine",
        "n = :ten",
        "n >= :ten AND n <= :ten",
        "s > :ban",
        "s < :cherry",
        "high > :replacement",
        "b > :low",
        "b < :mid",
        // Different types and missing attributes are unequal.
        "n <> :ten_text",
        "gone <> :one",
        "gone <> absent",
        "NOT gone = absent",
        "flag = :true",
        "nothing = :null",
        "tags = :green_red",
        "n BETWEEN :ten AND :twenty",
        "n between :nine and :ten",
        "s IN (:ban, :banana)",
        "letters[3] IN (:one, :four)",
        // AND binds closer than OR, NOT closer than AND.
        "n = :ten OR n = :ten AND n = :nine",
        "NOT n = :nine AND n = :ten",
        "not not n = :ten",
        "not (n = :nine or n = :one)",
        "attribute_exists(n) AND attribute_not_exists(gone)",
        "attribute_exists(nothing)",
        "attribute_exists(letters[4]) and attribute_not_exists(letters[5])",
        "attribute_not_exists(n[0]) and attribute_not_exists(info[0]) and attribute_not_exists(letters.a)",
        "attribute_type(tags, :SS) AND attribute_type(nothing, :NULL)",
        "attribute_type(:one, :N)",
        "begins_with(s, :ban)",
        "begins_with(s, :empty)",
        "begins_with(:banana, s)",
        "begins_with(b, :low)",
        "contains(s, :nan)",
        "contains(s, :empty)",
        "contains(b, :mid)",
        "contains(tags, :red)",
        "contains(nums, :five)",
        "contains(letters, :three)",
        "contains(letters, :four)",
        "contains(letters, :qp)",
        "size(s) > :five",
        "size(music) = :three",
        "size(b) = :three",
        "size(tags) = :two",
        "size(nums) = :two",
        "size(letters) = :five",
        "size(info) = :two",
        "size(:banana) > size(tags)",
        "info.nested.deep = :x",
        "info.arr[1].v = :two",
        "(info.arr)[1].v = :two",
        "(n) = (:ten)",
        "#d = :yes",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn these_conditions_do_not_hold() {
    for text in [
        "n < :nine",
        "n = :ten_text",
        "n < :ten_text",
        "n > :ten_text",
        "gone = :one",
        "gone = absent",
        "gone < :one",
        ":one <= gone",
        "gone BETWEEN :one AND :two",
        "gone IN (:one, absent)",
        "n BETWEEN :twenty AND :twenty",
        "n BETWEEN gone AND :twenty",
        "n BETWEEN letters AND tags",
        "flag < n",
        "tags < nums",
        "(n = :ten OR n = :ten) AND n = :nine",
        "attribute_type(gone, :S)",
        "attribute_type(n, :S)",
        "begins_with(s, :nan)",
        "begins_with(n, :ban)",
        "begins_with(s, n)",
        "begins_with(s, gone)",
        "contains(s, :two)",
        "contains(n, :one)",
        "contains(tags, :ban)",
        "contains(nums, :ten_text)",
        "contains(blobs, :low)",
        "contains(info, :x)",
        "contains(gone, :x)",
        "size(n) = :two",
        "size(flag) > :one",
        "size(nothing) > :one",
        "size(gone) < :one",
        "size(s) = :banana",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn a_condition_tells_its_paths() {
    let text = "n = :one AND (size(info.arr) > letters[0] OR attribute_exists(s)) AND NOT contains(tags, :red)";
    let parsed = Condition::parse("FilterExpression", text, &mut values()).unwrap();
    let paths: Vec<String> = parsed.paths().into_iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["[n]", "[info, arr]", "[letters, [0]]", "[s]", "[tags]"]);
}

fn projected(text: &str) -> Item {
    let parsed = Projection::parse(text, &mut values()).expect(text);
    let decoded = Projection::decode(parsed.encode()).expect(text);
    assert_eq!(decoded, parsed);
    decoded.project(&example())
}

#[test]
fn a_projection_keeps_the_shape_of_what_it_names() {
    for (text, kept) in [
        ("n, s, gone", item([("n", n("10")), ("s", s("banana"))])),
        ("#d", item([("dotted.name", s("yes"))])),
        ("info.nested", item([("info", m([("nested", m([("deep", s("x"))]))]))])),
        ("info.arr[1].v", item([("info", m([("arr", l([m([("v", n("2"))])]))]))])),
        ("letters[2], letters[0]", item([("letters", l([s("a"), n("3")]))])),
        ("letters[9], letters[1]", item([("letters", l([s("b")]))])),
        (
            "letters[3][0], info.arr[0]",
            item([("info", m([("arr", l([m([("v", n("1"))])]))])), ("letters", l([l([n("4")])]))]),
        ),
        ("info.gone.deep", item([])),
        ("info.arr[0].gone", item([])),
        ("info.arr.v, n[0], letters[0].a", item([])),
    ] {
        assert_eq!(projected(text), kept, "{text}");
    }
}
