//! The one place that calls raft: election time-outs made deterministic after every call, proposals never forwarded,
//! read-index rounds counted, commit groups assigned.

use std::collections::BTreeSet;

use raft::prelude::{ConfChangeV2, Config, Entry, Message, MessageType};
use raft::storage::{GetEntriesContext, Storage};
use raft::{ProgressState, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole};

use crate::election::election_timeout;
use crate::eraftpb::{ConfState, EntryType, HardState, Snapshot};
use crate::log_view::LogView;
use crate::membership::{commit_groups, sorted};
use crate::{FetchRequest, Flaw, Mutant, Options, Progress};
use model::{PartitionDescriptor, ReplicaId, ReplicaKind};

/// Largest append message: a follower's frame stays well below the transport's limit.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Append messages on the way to one follower: 64 of 64 KiB fill a long pipe, and bound what a silent one costs.
const MESSAGES_IN_FLIGHT: usize = 64;
/// How far a learner may be behind the commit index to be promoted, in entries: what is on its way under load.
const CAUGHT_UP_ENTRIES: u64 = 256;

pub(crate) struct Core {
    node: RawNode<LogView>,
    flaw: Flaw,
    seed: u64,
    /// A log replica: it stands for election only when those with items have not.
    patient: bool,
    timeout_of_term: (u64, usize),
}

/// Raft did not take the proposal; nothing of it is in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Core {
    pub(crate) fn new(id: ReplicaId, applied: u64, options: &Options, log: LogView) -> Result<Core, raft::Error> {
        let flaw = options.flaw;
        let config = Config {
            id: id.0,
            election_tick: options.election_ticks,
            max_election_tick: 3 * options.election_ticks,
            heartbeat_tick: options.heartbeat_ticks,
            applied,
            max_size_per_msg: MESSAGE_BYTES.min(options.uncommitted_bytes),
            max_inflight_msgs: MESSAGES_IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            read_only_option: if flaw.is(Mutant::LeaseReads) {
                ReadOnlyOption::LeaseBased
            } else {
                ReadOnlyOption::Safe
            },
            skip_bcast_commit: true,
            // raft 0.7.0 appends entries to a waiting *empty* message whatever that message's index is. After a follower's
            // rejection the index is too high, the follower counts from it, and acknowledges what it does not have (seed 56 of
            // `scenarios::chaos` lost a write). One proposal a turn leaves next to nothing to batch.
            batch_append: flaw.is(Mutant::BatchedAppends),
            max_uncommitted_size: options.uncommitted_bytes,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, log, &logger)?;
        let mut core = Core { node, flaw, seed: options.seed, patient: false, timeout_of_term: (0, 0) };
        core.node.raft.enable_group_commit(!flaw.is(Mutant::OneZoneQuorum));
        core.node.raft.maybe_free_inflight_buffers();
        core.settle();
        Ok(core)
    }

    /// Raft draws election time-outs at random; ours follow from seed, replica and term. Set only where raft drew anew, so
    /// that a running timer never moves.
    fn settle(&mut self) {
        let raft = &mut self.node.raft;
        let term = raft.term;
        if self.timeout_of_term.0 != term || self.timeout_of_term.1 == 0 {
            let base = raft.election_timeout();
            let patience = if self.patient { base } else { 0 };
            self.timeout_of_term = (term, election_timeout(self.seed, raft.id, term, base) + patience);
        }
        if raft.randomized_election_timeout() != self.timeout_of_term.1 {
            raft.set_randomized_election_timeout(self.timeout_of_term.1);
        }
    }

    pub(crate) fn flaw(&self) -> Flaw {
        self.flaw
    }

    pub(crate) fn id(&self) -> ReplicaId {
        ReplicaId(self.node.raft.id)
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        Some(self.node.raft.leader_id).filter(|&id| id != raft::INVALID_ID).map(ReplicaId)
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// (term, index) of the last entry, as elections compare them.
    pub(crate) fn last(&self) -> (u64, u64) {
        (self.node.raft.raft_log.last_term(), self.last_index())
    }

    pub(crate) fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    pub(crate) fn applied(&self) -> u64 {
        self.node.raft.raft_log.applied
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        self.node.raft.raft_log.term(index).ok()
    }

    pub(crate) fn log(&self) -> &LogView {
        self.node.store()
    }

    pub(crate) fn log_mut(&mut self) -> &mut LogView {
        self.node.mut_store()
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.node.raft.hard_state()
    }

    pub(crate) fn configuration(&self) -> ConfState {
        sorted(self.node.raft.prs().conf().to_conf_state())
    }

    /// Whether these are the members: what can be told of a configuration without making one.
    pub(crate) fn has_members(&self, configuration: &ConfState) -> bool {
        let members = self.node.raft.prs();
        let voters = || configuration.get_voters().iter().chain(configuration.get_voters_outgoing());
        let leaving = configuration.get_voters_outgoing().iter().filter(|id| !configuration.get_voters().contains(id));
        let count = configuration.get_voters().len() + leaving.count() + configuration.get_learners().len();
        count == members.iter().len()
            && voters().all(|&id| members.conf().voters().contains(id))
            && configuration.get_learners().iter().all(|&id| members.get(id).is_some())
    }

    /// Of both halves of a joint configuration.
    pub(crate) fn voters(&self) -> BTreeSet<ReplicaId> {
        self.node.raft.prs().conf().voters().ids().iter().map(ReplicaId).collect()
    }

    pub(crate) fn is_joint(&self) -> bool {
        !self.node.raft.prs().conf().to_conf_state().get_voters_outgoing().is_empty()
    }

    pub(crate) fn is_voter(&self, id: ReplicaId) -> bool {
        self.node.raft.prs().conf().voters().contains(id.0)
    }

    /// A configuration change is in the log and not applied, or its joint configuration not left.
    pub(crate) fn change_pending(&self) -> bool {
        self.node.raft.has_pending_conf() || self.is_joint()
    }

    pub(crate) fn tick(&mut self) {
        self.node.tick();
        self.settle();
    }

    /// Unless it leads or may not.
    pub(crate) fn campaign(&mut self) {
        drop(self.node.campaign());
        self.settle();
    }

    /// Time passes for the lease of a leader that is gone, and no election begins.
    pub(crate) fn tick_without_campaign(&mut self) {
        self.node.raft.election_elapsed += 1;
    }

    /// A leader that slept counts its quorum from now on, and lets everybody hear of it.
    pub(crate) fn lead_on(&mut self) {
        self.node.raft.election_elapsed = 0;
        self.ping();
    }

    /// A follower that slept takes no leader for granted: votes are given, and its own time comes soon.
    pub(crate) fn leave_lease(&mut self) {
        self.node.raft.election_elapsed = self.node.raft.election_timeout();
    }

    /// Its next tick is that of an election.
    pub(crate) fn campaign_next(&mut self) {
        self.node.raft.election_elapsed = self.node.raft.randomized_election_timeout().saturating_sub(1);
    }

    /// Every voter's log ends where this leader's does.
    pub(crate) fn all_matched(&self) -> bool {
        let last = self.last_index();
        self.voters().into_iter().all(|id| self.matched(id) == last)
    }

    /// What can be spared of memory where nothing is to be expected; raft's windows for others come back when they are used.
    pub(crate) fn shrink(&mut self) {
        let applied = self.applied();
        self.log_mut().evict(applied, 0);
        self.log_mut().shrink();
        self.node.raft.raft_log.unstable.entries.shrink_to_fit();
        self.node.raft.msgs.shrink_to_fit();
        self.node.raft.maybe_free_inflight_buffers();
    }

    /// A message that is not for this raft (local ones, answers of strangers) is dropped.
    pub(crate) fn step(&mut self, message: Message) {
        drop(self.node.step(message));
        self.settle();
    }

    /// A follower of this term tells how far it knows the log to be committed. A leader that started with an older commit index
    /// would have to commit an entry of its own first, and may have to do it in a configuration that the others have left:
    /// where that one lacks a quorum, they would wait for ever. Whatever is committed stands in every leader's log.
    pub(crate) fn learn_commit(&mut self, message: &Message) {
        let answers =
            matches!(message.get_msg_type(), MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse);
        if answers && self.leads() && message.term == self.term() && message.commit > self.committed() {
            self.node.raft.raft_log.commit_to(message.commit);
        }
    }

    /// Appends the entries to the log of this leader, all or none. Returns the index of the first.
    pub(crate) fn propose(&mut self, entries: Vec<Entry>) -> Result<u64, Refused> {
        if !self.leads() && !self.flaw.forwards() {
            return Err(Refused);
        }
        let count = entries.len() as u64;
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.set_entries(entries.into());
        let proposed = self.node.raft.step(message);
        self.settle();
        match proposed {
            Ok(()) if !self.leads() => Ok(self.last_index() + 1),
            Ok(()) => Ok(self.last_index() + 1 - count),
            Err(_dropped) => Err(Refused),
        }
    }

    pub(crate) fn propose_change(&mut self, change: &ConfChangeV2, context: bytes::Bytes) -> Result<u64, Refused> {
        let data = protobuf::Message::write_to_bytes(change).map_err(|_impossible| Refused)?;
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = data.into();
        entry.context = context;
        self.propose(vec![entry])
    }

    /// Bytes that may still be proposed; all of them where nothing is on its way, since raft then takes one batch of any size.
    pub(crate) fn proposal_room(&self, limit: u64) -> usize {
        let used = self.node.raft.uncommitted_size();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        limit.saturating_sub(used)
    }

    pub(crate) fn nothing_uncommitted(&self) -> bool {
        self.node.raft.uncommitted_size() == 0
    }

    /// False where raft dropped it silently.
    pub(crate) fn read_index(&mut self, round: u64) -> bool {
        let known = |node: &RawNode<LogView>| node.raft.pending_read_count() + node.raft.ready_read_count();
        let before = known(&self.node);
        self.node.read_index([self.node.raft.term.to_be_bytes(), round.to_be_bytes()].concat());
        self.settle();
        known(&self.node) > before
    }

    /// The round that raft's context names, if it belongs to this term.
    pub(crate) fn round_of(&self, context: &[u8]) -> Option<u64> {
        let (term, round) = context.split_first_chunk::<8>()?;
        let round = u64::from_be_bytes(round.try_into().ok()?);
        (u64::from_be_bytes(*term) == self.term()).then_some(round)
    }

    pub(crate) fn transfer(&mut self, to: ReplicaId) {
        self.node.transfer_leader(to.0);
        self.settle();
    }

    pub(crate) fn transferring_to(&self) -> Option<ReplicaId> {
        self.node.raft.lead_transferee.map(ReplicaId)
    }

    /// Gives leadership up in this term, after telling `heir` to campaign at once.
    pub(crate) fn step_down(&mut self, heir: Option<ReplicaId>) {
        if let Some(heir) = heir {
            self.node.raft.send_timeout_now(heir.0);
        }
        let term = self.term();
        self.node.raft.become_follower(term, raft::INVALID_ID);
        self.settle();
    }

    /// Enters the term if it is newer, and votes for nobody else in it.
    pub(crate) fn abstain(&mut self, term: u64) {
        let raft = &mut self.node.raft;
        if term > raft.term {
            raft.become_follower(term, raft::INVALID_ID);
        }
        if raft.vote == raft::INVALID_ID {
            raft.vote = raft.id;
        }
        self.settle();
    }

    pub(crate) fn ping(&mut self) {
        self.node.ping();
        self.settle();
    }

    pub(crate) fn unreachable(&mut self, id: ReplicaId) {
        self.node.report_unreachable(id.0);
        self.settle();
    }

    pub(crate) fn snapshot_sent(&mut self, to: ReplicaId, delivered: bool) {
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to.0, status);
        self.settle();
    }

    pub(crate) fn snapshot_built(&mut self, to: ReplicaId, snapshot: Option<Snapshot>) {
        let built = snapshot.is_some();
        self.log_mut().snapshot_built(to, snapshot);
        if built && self.leads() && self.node.raft.prs().get(to.0).is_some() {
            self.node.raft.send_append(to.0);
        }
        self.settle();
    }

    pub(crate) fn fetched(&mut self, request: &FetchRequest, entries: Vec<Entry>) {
        let contexts: Vec<GetEntriesContext> = self.log_mut().fetched(request, entries);
        for context in contexts {
            self.node.on_entries_fetched(context);
        }
        self.log_mut().drop_fetched();
        self.settle();
    }

    pub(crate) fn take_fetches(&mut self) -> Vec<FetchRequest> {
        if !self.log_mut().has_fetches() {
            return Vec::new();
        }
        let waiting: Vec<(u64, u64)> = self.node.raft.prs().iter().map(|(&id, pr)| (pr.next_idx, id)).collect();
        self.log_mut().take_fetches(|low| {
            let ids = waiting.iter().filter(|(next, _)| *next == low).map(|&(_, id)| id);
            ReplicaId(ids.min().unwrap_or_default())
        })
    }

    /// The follower says that it may have lost its log's tail: forget what it had, and find out again.
    pub(crate) fn probe_again(&mut self, id: ReplicaId) {
        let next = self.last_index() + 1;
        if id.0 == self.node.raft.id {
            return;
        }
        if let Some(progress) = self.node.raft.mut_prs().get_mut(id.0) {
            progress.matched = 0;
            progress.become_probe();
            progress.next_idx = next;
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.node.has_ready()
    }

    pub(crate) fn has_snapshot(&self) -> bool {
        self.node.snap().is_some()
    }

    pub(crate) fn ready(&mut self) -> Ready {
        self.node.ready()
    }

    /// What the ready holds is on its way to the disk.
    pub(crate) fn handed_out(&mut self, ready: Ready) {
        self.node.advance_append_async(ready);
        self.settle();
    }

    pub(crate) fn persisted(&mut self, ready_number: u64) {
        self.node.on_persist_ready(ready_number);
        self.settle();
    }

    /// The engine has everything up to `index`. A leader that thereby begins to leave a joint configuration says so at once:
    /// raft would keep that entry to itself until the next heartbeat.
    pub(crate) fn applied_to(&mut self, index: u64) {
        if index <= self.applied() {
            return;
        }
        let last = self.last_index();
        self.node.advance_apply_to(index);
        if self.leads() && self.last_index() > last {
            self.node.raft.bcast_append();
            self.node.ping();
        }
        self.settle();
    }

    /// None where raft finds the change impossible on its configuration (a joint one is left twice).
    pub(crate) fn apply_change(
        &mut self,
        change: &ConfChangeV2,
        descriptor: &PartitionDescriptor,
    ) -> Option<ConfState> {
        let configuration = self.node.apply_conf_change(change).ok()?;
        self.assign_groups(descriptor);
        self.settle();
        Some(sorted(configuration))
    }

    /// They live in raft's memory only: before the first step, after every change and every snapshot.
    pub(crate) fn assign_groups(&mut self, descriptor: &PartitionDescriptor) {
        let patient = descriptor.replica(self.id()).is_some_and(|own| own.kind == ReplicaKind::Log);
        if patient != self.patient {
            (self.patient, self.timeout_of_term) = (patient, (0, 0));
        }
        self.node.raft.assign_commit_groups(&commit_groups(descriptor));
        self.settle();
    }

    /// A replica that a snapshot has brought level is probed until there is a next entry: in a quiet group, for ever.
    pub(crate) fn caught_up(&self, id: ReplicaId) -> bool {
        let committed = self.committed();
        self.node.raft.prs().get(id.0).is_some_and(|progress| {
            let has_state = progress.matched > 0 && progress.state != ProgressState::Snapshot;
            has_state && progress.matched + CAUGHT_UP_ENTRIES >= committed
        })
    }

    /// Whether some other replica has entries that it could be told to be committed, beyond what `told` says it was.
    pub(crate) fn commit_known_beyond(&self, told: impl Fn(ReplicaId) -> u64) -> bool {
        let (own, committed) = (self.node.raft.id, self.committed());
        let others = self.node.raft.prs().iter().filter(|&(&id, _)| id != own);
        others.into_iter().any(|(&id, progress)| progress.matched.min(committed) > told(ReplicaId(id)))
    }

    pub(crate) fn matched(&self, id: ReplicaId) -> u64 {
        self.node.raft.prs().get(id.0).map_or(0, |progress| progress.matched)
    }

    /// The last entry that so many of these hold in synced logs.
    pub(crate) fn held_by(&self, count: usize, members: impl Iterator<Item = ReplicaId>) -> u64 {
        let mut matched: Vec<u64> = members.map(|id| self.matched(id)).collect();
        matched.sort_unstable_by_key(|&index| std::cmp::Reverse(index));
        count.checked_sub(1).and_then(|last| matched.get(last)).copied().unwrap_or(0)
    }

    /// The lowest entry after which some follower still needs the log.
    pub(crate) fn followers_floor(&self) -> u64 {
        let floor = |progress: &raft::Progress| match progress.state {
            ProgressState::Snapshot => progress.pending_snapshot,
            ProgressState::Probe | ProgressState::Replicate => progress.matched,
        };
        self.node.raft.prs().iter().map(|(_, progress)| floor(progress)).min().unwrap_or(0)
    }

    pub(crate) fn progress(&self) -> Vec<Progress> {
        let of = |(&id, progress): (&u64, &raft::Progress)| Progress {
            replica: ReplicaId(id),
            matched: progress.matched,
            recently_active: progress.recent_active,
            receiving_snapshot: progress.state == ProgressState::Snapshot,
        };
        let mut progress: Vec<Progress> = self.node.raft.prs().iter().map(of).collect();
        progress.sort_by_key(|progress| progress.replica);
        progress
    }

    pub(crate) fn check(&self) {
        let (truncated, applied) = (self.log().truncated_index(), self.applied());
        let (committed, last) = (self.committed(), self.last_index());
        assert!(
            truncated <= applied && applied <= committed && committed <= last,
            "truncated {truncated} ≤ applied {applied} ≤ committed {committed} ≤ last {last} does not hold"
        );
        assert!(self.log().last_index().is_ok_and(|stored| stored <= last), "the log is longer than raft knows");
        self.log().check();
    }
}
