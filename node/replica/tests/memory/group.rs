//! Three replicas in memory that never fail, for what is measured: bytes held, steps taken.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::item::encode_attributes;
use model::{
    Item, KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor, TableId,
    TableStatus, Value, Zone,
};
use replica::{
    Action, Answer, AppliedMark, Effects, Envelope, GroupState, Input, LogStart, Now, Options, Replica, Start, Token,
    WriteRequest,
};

pub struct Group {
    members: BTreeMap<ReplicaId, Member>,
    wire: VecDeque<Envelope>,
    now_us: u64,
    tokens: u64,
    pub written: u64,
}

pub struct Member {
    /// On its own: a tree sets places aside for more members than there are, and counts them.
    pub replica: Box<Replica>,
    inputs: Vec<Input>,
}

impl Group {
    /// Just born: one voter in each of three zones.
    pub fn born() -> Group {
        Group::born_with(&Options::default())
    }

    pub fn born_with(options: &Options) -> Group {
        let member = |id| Member { replica: Box::new(start(id, options)), inputs: Vec::new() };
        let members = (1..=3).map(|id| (ReplicaId(id), member(id))).collect();
        Group { members, wire: VecDeque::new(), now_us: 1, tokens: 0, written: 0 }
    }

    /// With a leader that serves.
    pub fn led() -> Group {
        let mut group = Group::born();
        while group.leader().is_none() {
            group.tick();
        }
        group
    }

    pub fn leader(&self) -> Option<ReplicaId> {
        self.members.iter().find(|(_, member)| member.replica.status().serving).map(|(id, _)| *id)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One tick for everybody, and all that follows from it.
    pub fn tick(&mut self) {
        for member in self.members.values_mut() {
            member.inputs.push(Input::Tick);
        }
        self.settle();
    }

    /// So many puts in one turn of the leader, until they are answered and everybody has applied them.
    pub fn put(&mut self, keys: std::ops::Range<u64>, attributes: &Bytes) {
        let leader = self.leader().expect("the group is led");
        let member = self.members.get_mut(&leader).expect("the leader is a member");
        let epoch = member.replica.descriptor().expect("a leader has a descriptor").epoch;
        for key in keys {
            self.tokens += 1;
            let request = Box::new(put(key, attributes));
            member.inputs.push(Input::Write { token: Token(self.tokens), epoch, request });
        }
        self.settle();
        member_of(&mut self.members, leader).inputs.push(Input::AnnounceCommit);
        self.settle();
    }

    /// What is applied cannot be lost any more.
    pub fn flush(&mut self) {
        for member in self.members.values_mut() {
            let index = member.replica.status().applied;
            member.inputs.push(Input::Flushed { index });
        }
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut busy = false;
            let ids: Vec<ReplicaId> = self.members.keys().copied().collect();
            for id in ids {
                busy |= self.step(id);
            }
            while let Some(envelope) = self.wire.pop_front() {
                busy = true;
                let to = envelope.to;
                member_of(&mut self.members, to).inputs.push(Input::Message(envelope));
            }
            if !busy {
                return;
            }
        }
    }

    fn step(&mut self, id: ReplicaId) -> bool {
        let member = member_of(&mut self.members, id);
        if member.inputs.is_empty() {
            return false;
        }
        self.now_us += 10;
        let effects = member.replica.step(Now(self.now_us), &mut member.inputs);
        let Effects { reads, append, send, apply, answers, .. } = effects;
        let inputs = &mut member.inputs;
        inputs.extend(reads.into_iter().map(|read| Input::ItemRead { ticket: read.ticket, attributes: None }));
        inputs.extend(append.map(|append| Input::Persisted { number: append.number }));
        inputs.extend(apply.map(|apply| Input::Applied { index: apply.index }));
        self.wire.extend(send);
        let written = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Written { .. })).count();
        self.written += u64::try_from(written).expect("a count fits");
        true
    }
}

/// An item with a text of that length, encoded.
pub fn attributes(len: usize) -> Bytes {
    let item = Item::from([("text".to_owned(), Value::S("x".repeat(len)))]);
    Bytes::from(encode_attributes(&item))
}

fn member_of(members: &mut BTreeMap<ReplicaId, Member>, id: ReplicaId) -> &mut Member {
    members.get_mut(&id).expect("messages are for members")
}

fn put(key: u64, attributes: &Bytes) -> WriteRequest {
    WriteRequest {
        key: Bytes::copy_from_slice(&key.to_be_bytes()),
        action: Action::Put(attributes.clone()),
        condition: None,
        return_old: false,
        return_new: false,
        return_old_on_failure: false,
        request_id: Bytes::from_static(b"request"),
    }
}

fn start(id: u64, options: &Options) -> Replica {
    let places = (1..=3).map(|number| (NodeId(100 + number), Zone(format!("zone-{number}"))));
    let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
    let table = TableDescriptor { id: TableId(8), status: TableStatus::Active, ..wish };
    let descriptor = PartitionDescriptor::birth(PartitionId(77), table.id, KeyRange::ALL, places);
    let start = Start {
        partition: descriptor.id,
        node: NodeId(100 + id),
        replica: ReplicaId(id),
        options: Options { seed: 77, ..options.clone() },
        log: LogStart::default(),
        state: Some(GroupState::birth(ReplicaId(id), descriptor, table)),
        mark: Some(AppliedMark::birth()),
    };
    Replica::start(start).expect("a newborn replica starts")
}
