//! Key conditions: the shapes that are refused, and what is left of the others under a key schema.

use super::messages::all;
use super::*;
use crate::expression::SortCondition;

#[test]
fn key_conditions_have_a_shape() {
    let multiple = "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition";
    let nested = "KeyConditionExpressions cannot contain nested operations";
    let deep = "KeyConditionExpressions cannot have conditions on nested attributes";
    let no_key = "Invalid condition in KeyConditionExpression: No key attribute specified";
    let twice = "KeyConditionExpressions must only contain one condition per key";
    let first = |operator: &str| {
        format!(
            "Invalid condition in KeyConditionExpression: {operator} operator must have the key attribute as its first operand"
        )
    };
    let operator = |operator: &str| format!("Invalid operator used in KeyConditionExpression: {operator}");
    for (text, sentence) in [
        ("attribute_type(a, :type)", operator("attribute_type")),
        ("a > b and size(b) > c or a > c", operator("OR")),
        ("a in (b, size(c), d)", operator("IN")),
        ("attribute_exists(a)", operator("attribute_exists")),
        ("attribute_not_exists(a)", operator("attribute_not_exists")),
        ("contains(a.d, b)", operator("contains")),
        ("not a > b", operator("NOT")),
        ("a <> b", operator("<>")),
        (":s between size(b) and size(a) and b > :s", first("BETWEEN")),
        ("begins_with(:s, b) and a > :s", first("begins_with")),
        ("size(b) > a AND a.b > b AND b > c", nested.to_owned()),
        ("a > size(b.d)", nested.to_owned()),
        ("a between size(b) and size(a)", nested.to_owned()),
        ("b > a.b", multiple.to_owned()),
        ("b between c[1] and d", multiple.to_owned()),
        ("a between b and size(a)", multiple.to_owned()),
        ("begins_with(a, b)", multiple.to_owned()),
        ("b.d > a AND c.d > e.f", deep.to_owned()),
        ("a.d > c", deep.to_owned()),
        ("b[0] > a", deep.to_owned()),
        (":n > :n AND a < :n", no_key.to_owned()),
        (":n > b AND :n < :n", no_key.to_owned()),
        ("b > :n AND b < :n and c = :n and d = :n", twice.to_owned()),
        ("(a > :n and b > :n) and (b > :n and c > :n)", twice.to_owned()),
        ("a = :n and b = :n and c = :n", "Conditions can be of length 1 or 2 only".to_owned()),
    ] {
        let mut values = all();
        values.values.insert(":type".to_owned(), s("S"));
        let parsed = KeyExpression::parse(text, &mut values).expect(text);
        assert_eq!(parsed.conditions().expect_err(text).0, sentence, "{text}");
    }
}

#[test]
fn key_conditions_are_held_against_the_schema() {
    let against = |text: &str, sort: Option<&str>| {
        let conditions = KeyExpression::parse(text, &mut all()).unwrap().conditions().unwrap();
        conditions.for_schema("pk", sort).map_err(|error| error.0)
    };
    let missed = |name: &str| Err(format!("Query condition missed key schema element: {name}"));
    assert_eq!(against("sk = :s", Some("sk")), missed("pk"));
    assert_eq!(against("pk = :s and another = :s", Some("sk")), missed("sk"));
    assert_eq!(against("pk < :s", Some("sk")), Err("Query key condition not supported".to_owned()));

    let found = against(":n < sk and pk = :s", Some("sk")).unwrap();
    assert_eq!((found.partition_name.as_str(), &found.partition), ("pk", &s("a")));
    assert_eq!(found.sort, Some(("sk".to_owned(), SortCondition::Greater(n("1")))));

    let guessed = KeyCondition::parse("sk between :s and :s2 AND (pk) = (:n)", &mut all()).unwrap();
    assert_eq!((guessed.partition_name.as_str(), guessed.partition), ("pk", n("1")));
    assert_eq!(guessed.sort, Some(("sk".to_owned(), SortCondition::Between(s("a"), s("b")))));
}
