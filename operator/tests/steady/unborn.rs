//! A birth that was cut short, and is wished no more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::api::{DeleteParams, PostParams};
use kube::{Client, ResourceExt as _};
use model::{KeySchema, KeyType, TableDescriptor, TableId};
use operator::crd::Table;
use operator::resources::{FINALIZER, GIVEN};

use crate::process::Operator;
use crate::scenarios::has_nodes;
use crate::stage::{NODES, Stage};

/// CreateTable had made the object and told MemDS, and nobody had gone on: no group waits for anybody.
pub async fn nothing_is_left_of_a_table_that_was_never_placed(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let schema = KeySchema::simple("artist", KeyType::S);
    let begun = TableDescriptor {
        id: TableId(0x77),
        version: 1,
        initial_partitions: 3,
        ..TableDescriptor::wish("music", schema)
    };
    let mut object = Table::new("music", operator::wish::spec(stage.cluster, &begun));
    object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    object.annotations_mut().insert(GIVEN.to_owned(), BASE64.encode(begun.encode()));
    stage.api::<Table>().create(&PostParams::default(), &object).await.unwrap();
    stage.api::<Table>().delete("music", &DeleteParams::default()).await.unwrap();
    stage.fleet.world().known.insert(begun.id.0, begun);

    let operator = Operator::start(&stage.told, None);
    stage.apply_cluster().await;
    let what = "its object is gone, and MemDS has forgotten it";
    stage
        .until(what, |picture| {
            has_nodes(picture, stage.cluster, NODES) && !picture.has(&["Table "]) && !picture.has(&["memds "])
        })
        .await;
    assert!(stage.fleet.world().groups.is_empty());
    drop(operator);
    stage.nothing_is_broken();
}
