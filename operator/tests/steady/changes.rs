//! Changes that nodes make by themselves, and whether the Partition objects tell of them.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use model::PartitionId;
use operator::crd::Partition;

use crate::fleet::World;
use crate::stage::Stage;

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(200);

/// The leaders of so many partitions, one after the other from the first, hand over to another node that runs.
pub fn change_leaders(world: &mut World, first: usize, count: usize) {
    let running = world.running();
    for group in world.groups.values_mut().skip(first).take(count) {
        let others = group.descriptor.replicas.iter().filter(|replica| Some(replica.id) != group.leader);
        let heir = others.filter(|replica| running.contains(&replica.node)).map(|replica| replica.id).next();
        group.hand_on(heir.unwrap(), &running).unwrap();
    }
}

/// Partition objects whose leader is another than the nodes say.
pub async fn untold(stage: &Stage) -> usize {
    let objects = stage.api::<Partition>().list(&ListParams::default()).await.unwrap();
    let world = stage.fleet.world();
    let is_told = |object: &&Partition| {
        let id = PartitionId(u64::from_str_radix(&object.spec.partition_id, 16).unwrap());
        let group = &world.groups[&id];
        let leader =
            group.leader.and_then(|leader| group.descriptor.replica(leader)).map(|leader| leader.node.to_string());
        object.status.as_ref().map(|status| status.leader.clone()) == leader
    };
    objects.items.len() - objects.items.iter().filter(is_told).count()
}

pub async fn until_told(stage: &Stage) {
    let deadline = Instant::now() + PATIENCE;
    while untold(stage).await > 0 {
        assert!(Instant::now() < deadline, "{}: some Partition never tells who leads", stage.namespace);
        tokio::time::sleep(PAUSE).await;
    }
}
