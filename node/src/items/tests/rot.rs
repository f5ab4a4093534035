//! Bytes of a file that are not what was written.

use super::*;

/// Larger than a block, so that no other item shares its own.
fn rotten(name: &str) -> Bytes {
    let text = format!("{name}{}", "x".repeat(8 << 10));
    encode_attributes(&Item::from([("text".into(), Value::S(text))])).into()
}

fn house(dir: &Path) -> Items {
    let items = open(dir);
    let bad = write(12, b"bad", WriteKind::Put, rotten("item-that-rots"));
    let good = write(11, b"a", WriteKind::Put, rotten("item-before-it"));
    apply(&items, TABLE, PARTITION, vec![good, bad, put(13, b"z")]);
    apply(&items, NEIGHBOUR, OTHER, vec![put(11, b"a")]);
    items.flush().unwrap();
    rot(dir, "item-that-rots");
    items
}

#[test]
fn an_item_that_is_not_what_was_written_is_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let items = house(dir.path());
    assert!(items.get(TABLE, b"bad").unwrap_err().is_corrupt());
    assert!(items.scan(&all(TABLE, KeyRange::ALL)).unwrap_err().is_corrupt());
    assert!(items.count(TABLE, &KeyRange::ALL, 1 << 20).unwrap_err().is_corrupt());
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let built = items.view().write_files(TABLE, &KeyRange::ALL, &files, 1 << 20, |_| true);
    assert!(built.unwrap_err().is_corrupt());
    assert!(items.get(TABLE, b"a").unwrap().is_some() && items.get(NEIGHBOUR, b"a").unwrap().is_some());
    // A file that is not there is another matter than one that says something else.
    let missing = Items::open(ItemsOptions::new(Path::new("/proc/nowhere").to_owned(), 0)).err().unwrap();
    assert!(!missing.is_corrupt(), "{missing}");
}

#[test]
fn who_cannot_apply_for_it_is_named_and_the_others_go_on_without() {
    let dir = tempfile::tempdir().unwrap();
    let items = house(dir.path());
    let mut turn = TurnBatch::default();
    turn.add(OTHER, NEIGHBOUR, batch(vec![put(21, b"b")]));
    turn.add(PARTITION, TABLE, batch(vec![write(21, b"bad", WriteKind::Touch, Bytes::new())]));
    turn.add(PARTITION, TABLE, batch(vec![put(22, b"c")]));
    assert_eq!(items.write(&turn).unwrap(), WriteOutcome::Unreadable(PARTITION));
    assert_eq!(items.get(NEIGHBOUR, b"b").unwrap(), None, "all or nothing");
    assert_eq!(turn.leave_out(PARTITION), []);
    assert_eq!(items.write(&turn).unwrap(), WriteOutcome::Written);
    assert!(items.get(NEIGHBOUR, b"b").unwrap().is_some() && items.get(TABLE, b"c").unwrap().is_none());
}

#[test]
fn what_cannot_be_read_can_be_cleared_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let items = house(dir.path());
    items.clear(PARTITION, TABLE, &KeyRange::ALL).unwrap();
    apply(&items, TABLE, PARTITION, vec![write(12, b"bad", WriteKind::Put, rotten("good-again"))]);
    items.flush().unwrap();
    assert_eq!(items.get(TABLE, b"bad").unwrap().unwrap().attributes, rotten("good-again"));
    assert_eq!(items.get(TABLE, b"z").unwrap(), None);
    assert!(items.get(NEIGHBOUR, b"a").unwrap().is_some());
}
