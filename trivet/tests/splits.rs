//! A table of `trivet local` is split again and again under writers: by `trivet admin split`, seen by an AWS SDK.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use e2e::client::{self, Retries, Schema};
use e2e::port::Port;
use e2e::process::{Local, Mode};
use futures::future::join_all;
use tokio::process::Command;

const TABLE: &str = "songs";
const ARTISTS: u32 = 8;
const SONGS: u32 = 30;
/// Writers at once; each has its own songs of every artist.
const WRITERS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(60);

struct House {
    local: Local,
    client: Client,
    _port: Port,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve().unwrap();
    let local = Local {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_trivet")),
        mode: Mode::Processes,
        listen: port.address.to_string(),
        data: folder.path().join("data"),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let client = client::connect(&local.listen, Retries::Default, WITHIN);
    House { local, client, _port: port, _folder: folder }
}

type Item = HashMap<String, AttributeValue>;

fn key(artist: u32, song: u32) -> Item {
    [("key", format!("artist-{artist}")), ("sort", format!("song-{song:03}"))]
        .map(|(name, text)| (name.to_owned(), AttributeValue::S(text)))
        .into()
}

fn all_keys() -> impl Iterator<Item = (u32, u32)> {
    (0..ARTISTS).flat_map(|artist| (0..SONGS).map(move |song| (artist, song)))
}

impl House {
    async fn put(&self, (artist, song): (u32, u32), number: u64) {
        let mut item = key(artist, song);
        item.insert("number".to_owned(), AttributeValue::N(number.to_string()));
        self.client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }

    async fn admin(&self, arguments: &[&str]) -> Output {
        let mut admin = Command::new(&self.local.binary);
        admin.args(["admin", "--data"]).arg(&self.local.data).args(arguments);
        admin.output().await.unwrap()
    }

    /// Their ids.
    async fn partitions(&self) -> BTreeSet<String> {
        let groups = self.admin(&["groups"]).await;
        assert!(groups.status.success(), "{groups:?}");
        let groups = String::from_utf8(groups.stdout).unwrap();
        let of_table = groups.lines().filter_map(|line| line.strip_prefix("songs  partition "));
        of_table.map(str::to_owned).collect()
    }

    /// Of all partitions, one has the key.
    async fn split_at(&self, artist: u32, song: u32) {
        let at = format!(r#"{{"key": {{"S": "artist-{artist}"}}, "sort": {{"S": "song-{song:03}"}}}}"#);
        let mut done = 0;
        for partition in self.partitions().await {
            let split = self.admin(&["split", "--partition", &partition, "--at-key", &at]).await;
            let refusal = String::from_utf8_lossy(&split.stderr);
            assert!(split.status.success() || refusal.contains("not inside the partition's range"), "{refusal}");
            done += u32::from(split.status.success());
        }
        assert_eq!(done, 1, "one partition has the key");
    }

    /// Song and number of one artist's items, as Query pages them.
    async fn query(&self, artist: u32, forward: bool) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let query = self.client.query().table_name(TABLE).consistent_read(true).limit(7);
            let query = query.key_condition_expression("#k = :k").expression_attribute_names("#k", "key");
            let query = query.expression_attribute_values(":k", AttributeValue::S(format!("artist-{artist}")));
            let query = query.scan_index_forward(forward).set_exclusive_start_key(start);
            let page = query.send().await.unwrap();
            found.extend(
                page.items().iter().map(|item| {
                    (item["sort"].as_s().unwrap().clone(), item["number"].as_n().unwrap().parse().unwrap())
                }),
            );
            start = page.last_evaluated_key;
            if start.is_none() {
                return found;
            }
        }
    }

    async fn scanned(&self) -> BTreeMap<(String, String), u64> {
        let mut found = BTreeMap::new();
        let mut start = None;
        loop {
            let scan = self.client.scan().table_name(TABLE).consistent_read(true).limit(13);
            let page = scan.set_exclusive_start_key(start).send().await.unwrap();
            for item in page.items() {
                let text = |name: &str| item[name].as_s().unwrap().clone();
                let number = item["number"].as_n().unwrap().parse().unwrap();
                let twice = found.insert((text("key"), text("sort")), number);
                assert_eq!(twice, None, "an item was found in two partitions");
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return found;
            }
        }
    }

    async fn batch_get(&self, keys: &[(u32, u32)]) -> usize {
        let keys = keys.iter().map(|(artist, song)| key(*artist, *song)).collect();
        let asked = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build().unwrap();
        let answer = self.client.batch_get_item().request_items(TABLE, asked).send().await.unwrap();
        answer.responses.unwrap()[TABLE].len()
    }

    async fn batch_write(&self, keys: &[(u32, u32)], number: u64) {
        let put = |(artist, song): &(u32, u32)| {
            let mut item = key(*artist, *song);
            item.insert("number".to_owned(), AttributeValue::N(number.to_string()));
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        };
        let puts: Vec<_> = keys.iter().map(put).collect();
        let answer = self.client.batch_write_item().request_items(TABLE, puts).send().await.unwrap();
        assert!(answer.unprocessed_items().is_none_or(HashMap::is_empty));
    }

    async fn is_whole(&self, numbers: &BTreeMap<(u32, u32), u64>) {
        for artist in 0..ARTISTS {
            let mut expected: Vec<(String, u64)> =
                (0..SONGS).map(|song| (format!("song-{song:03}"), numbers[&(artist, song)])).collect();
            assert_eq!(self.query(artist, true).await, expected);
            expected.reverse();
            assert_eq!(self.query(artist, false).await, expected);
        }
        let named = |((artist, song), number): (&(u32, u32), &u64)| {
            ((format!("artist-{artist}"), format!("song-{song:03}")), *number)
        };
        assert_eq!(self.scanned().await, numbers.iter().map(named).collect());
    }
}

#[tokio::test]
async fn a_table_is_split_under_writers_and_nothing_of_it_is_lost() {
    let house = house();
    let running = house.local.start().await.unwrap();
    client::create_table_as(&house.client, TABLE, Schema::HashAndSort, 1, WITHIN).await.unwrap();
    join_all(all_keys().map(|key| house.put(key, 1))).await;

    // Writers never stop, and none of their puts fails.
    let done = AtomicBool::new(false);
    let write = async |writer: u32| {
        let own: Vec<(u32, u32)> = all_keys().filter(|(_, song)| song % WRITERS == writer).collect();
        let mut numbers = BTreeMap::new();
        for number in 2_u64.. {
            for key in &own {
                house.put(*key, number).await;
                numbers.insert(*key, number);
            }
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
        numbers
    };
    let splits = async {
        // Inside three artists' songs; each cuts whatever partition has the key by then.
        for artist in [2, 5, 7] {
            house.split_at(artist, 15).await;
        }
        house.split_at(5, 20).await;
        done.store(true, Ordering::Relaxed);
    };
    let (written, ()) = futures::join!(join_all((0..WRITERS).map(write)), splits);
    let mut numbers: BTreeMap<(u32, u32), u64> = written.into_iter().flatten().collect();
    assert_eq!(house.partitions().await.len(), 5);
    house.is_whole(&numbers).await;
    let across: Vec<(u32, u32)> =
        [2, 5, 7].into_iter().flat_map(|artist| (12..20).map(move |song| (artist, song))).collect();
    assert_eq!(house.batch_get(&across).await, across.len());
    house.batch_write(&across, 1_000_000).await;
    numbers.extend(across.iter().map(|key| (*key, 1_000_000)));
    house.is_whole(&numbers).await;

    running.kill_everything().await.unwrap();
    let running = house.local.start().await.unwrap();
    house.is_whole(&numbers).await;
    // What was planned as one partition is deleted as five.
    house.client.delete_table().table_name(TABLE).send().await.unwrap();
    let deadline = Instant::now() + WITHIN;
    while !house.partitions().await.is_empty()
        || !house.client.list_tables().send().await.unwrap().table_names().is_empty()
    {
        assert!(Instant::now() < deadline, "the table is not gone");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Nor do its groups come back.
    running.kill_everything().await.unwrap();
    let running = house.local.start().await.unwrap();
    assert_eq!(house.partitions().await, BTreeSet::new());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_split_without_a_place_is_refused_in_a_sentence() {
    let house = house();
    let running = house.local.start().await.unwrap();
    client::create_table_as(&house.client, TABLE, Schema::HashAndSort, 1, WITHIN).await.unwrap();
    let partition = house.partitions().await.into_iter().next().unwrap();
    for (arguments, sentence) in [
        (&["--at", ""][..], "not inside the partition's range"),
        (&["--at", "0x"][..], "is no encoded key: pairs of hexadecimal digits"),
        (&["--at-key", r#"{"key": {"S": "a"}}"#][..], "The provided key element does not match the schema"),
        (&["--at-key", "a"][..], "read the key"),
        (&[][..], "say where to split: --at-key or --at"),
    ] {
        let arguments = [&["split", "--partition", &partition][..], arguments].concat();
        let refused = house.admin(&arguments).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(sentence), "{arguments:?}: {said}");
    }
    assert_eq!(house.partitions().await.len(), 1);
    running.stop().await.unwrap();
}
