//! The bugs, each with the tests that should fail.

/// A bug to plant: the text that stands in a file exactly once, and what it becomes.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) find: &'static str,
    pub(super) replace: &'static str,
    pub(super) catch: Tests,
}

/// The tests that should fail.
#[derive(PartialEq, Eq)]
pub(super) struct Tests {
    pub(super) package: &'static str,
    /// A test target, or `--lib`.
    pub(super) target: &'static str,
    pub(super) names: &'static [&'static str],
    /// A `--cfg` for the build.
    pub(super) cfg: Option<&'static str>,
}

const fn store(names: &'static [&'static str]) -> Tests {
    Tests { package: "pkv-store", target: "it", names, cfg: None }
}

const fn orders(names: &'static [&'static str]) -> Tests {
    Tests { package: "pkv-store", target: "orders", names, cfg: Some("pkv_shuttle") }
}

const BIASED: &str = "crates/pkv-fs/src/biased/mod.rs";
const SET: &str = "crates/pkv-snapshot-set/src/file_snapshot_set.rs";
const PUBLISH: &str = "crates/pkv-snapshot-set/src/publish.rs";
const PRUNE: &str = "crates/pkv-snapshot-set/src/prune.rs";
const SOURCE: &str = "crates/pkv-store/src/backup/source.rs";
const PURGE: &str = "crates/pkv-store/src/purge.rs";
const FRAME: &str = "crates/pkv-format/src/frame.rs";
const COMMIT: &str = "crates/pkv-store/src/log/commit.rs";
const PASS: &str = "crates/pkv-store/src/log/pass.rs";
const CORE: &str = "crates/pkv-store/src/core.rs";
const COMPACT: &str = "crates/pkv-store/src/compact.rs";
const LOAD: &str = "crates/pkv-store/src/recover/load.rs";
const APPLY: &str = "crates/pkv-store/src/recover/apply.rs";
const SPANS: &str = "crates/pkv-store/src/recover/spans.rs";
const INSTANT: &str = "crates/pkv-store/src/instant.rs";
const MANY: &str = "crates/pkv-store/src/many.rs";
const LOGS: &str = "crates/pkv-store/src/recover/logs.rs";
const REPAIR: &str = "crates/pkv-store/src/recover/repair.rs";
const BATCH: &str = "crates/pkv-store/src/batch.rs";
const REPLAY: &str = "crates/pkv-store/src/recover/replay.rs";
const COPY: &str = "crates/pkv-store/src/map/copy.rs";
const TABLE: &str = "crates/pkv-store/src/map/table.rs";
const SHARD: &str = "crates/pkv-store/src/map/shard.rs";
const RECORD: &str = "crates/pkv-store/src/map/record.rs";
const HOT: &str = "crates/pkv-store/src/map/hot.rs";
const MAP: &str = "crates/pkv-store/src/map/mod.rs";
const READ: &str = "crates/pkv-store/src/map/read.rs";
const WRITE: &str = "crates/pkv-store/src/write.rs";
const EXPIRY: &str = "crates/pkv-store/src/expiry/mod.rs";
const HUB: &str = "crates/pkv-store/src/watch/hub.rs";
const RESERVE: &str = "crates/pkv-store/src/log/reserve.rs";
const LOG: &str = "crates/pkv-store/src/log/mod.rs";
const MARK: &str = "crates/pkv-store/src/log/mark.rs";
const READY: &str = "crates/pkv-store/src/map/ready.rs";
const READY_VALUES: &str = "crates/pkv-store/src/map/ready_values.rs";
const CHUNK: &str = "crates/pkv-store/src/map/chunk.rs";
const KEEPER: &str = "crates/pkv-store/src/log/keeper.rs";

const POWER_CUT: &str = "crash_sim::a_power_cut_leaves_a_prefix_mapped";
const LOG_TESTS: Tests =
    Tests { package: "pkv-store", target: "--lib", names: &["log::"], cfg: None };
const BIASED_TESTS: Tests =
    Tests { package: "pkv-fs", target: "it", names: &["biased::"], cfg: None };
const MAP_TESTS: Tests =
    Tests { package: "pkv-store", target: "--lib", names: &["map::"], cfg: None };
const FORMAT_LOG: Tests = Tests { package: "pkv-format", target: "log", names: &[], cfg: None };

const LOCK_THEN_SCAN: &str = "        let lock = match fs.lock(&lock_path, options.lock_wait) {\n            Ok(lock) => lock,\n            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {\n                return Err(Error::Locked { path: lock_path });\n            }\n            Err(error) => return Err(error.into()),\n        };\n\n        // 2.\n        let (judgement, interrupted_creation) = survey(&*fs, &dir)?;\n";

const SCAN_THEN_LOCK: &str = "        let (judgement, interrupted_creation) = survey(&*fs, &dir)?;\n        let lock = match fs.lock(&lock_path, options.lock_wait) {\n            Ok(lock) => lock,\n            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {\n                return Err(Error::Locked { path: lock_path });\n            }\n            Err(error) => return Err(error.into()),\n        };\n\n";

const AMID_ZEROS: Tests = store(&["ahead::nothing_is_written_where_zeros_are_being_written"]);

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "bring back what the logs removed",
        file: APPLY,
        find: "                    spans.note_removed(placed.hash, key);\n",
        replace: "",
        catch: store(&["instant::every_key_is_what_it_would_be_had_all_been_loaded"]),
    },
    Mutant {
        name: "bring back what the logs cleared",
        file: APPLY,
        find: "                spans.note_cleared(&map.hashes(shard));\n",
        replace: "",
        catch: store(&["instant::a_clear_amid_many_writes_clears_what_was_there_and_no_more"]),
    },
    Mutant {
        name: "write a key before its span is loaded",
        file: WRITE,
        find: "        self.ready_to_write(hash, || self.bytes_at_most(key, prepare))?;\n",
        replace: "",
        catch: store(&["instant::every_key_is_what_it_would_be_had_all_been_loaded"]),
    },
    Mutant {
        name: "write a batch before its spans are loaded",
        file: WRITE,
        find: "                self.ready_to_write(hash, || bytes)\n",
        replace: "                { let _ = (hash, bytes); Ok(()) }\n",
        catch: store(&[
            "instant::every_key_is_what_it_would_be_had_all_been_loaded",
            "crash_sim::",
        ]),
    },
    Mutant {
        name: "read many keys before their spans are loaded",
        file: MANY,
        find: "            filled.iter().try_for_each(|wanted| self.ready_to_read_hash(wanted.hash))?;\n",
        replace: "            let _ = filled;\n",
        catch: store(&["instant::every_key_is_what_it_would_be_had_all_been_loaded"]),
    },
    Mutant {
        name: "clear what is not loaded yet",
        file: WRITE,
        find: "        self.ready_all()?;\n        let mut frame",
        replace: "        let mut frame",
        catch: store(&["instant::whatever_concerns_all_entries_sees_all"]),
    },
    Mutant {
        name: "take a span that was begun for one that was not",
        file: SPANS,
        find: "self.is_changed.load(Ordering::Relaxed) || waiting.is_begun;",
        replace: "self.is_changed.load(Ordering::Relaxed);",
        catch: store(&["instant_damage::a_read_that_fails_amid_a_span_is_no_damage"]),
    },
    Mutant {
        name: "write beside damage",
        file: INSTANT,
        find: "        if let Some(damage) = self.spans.damage() {\n            return Err(damage);\n        }\n",
        replace: "",
        catch: store(&[
            "instant_damage::damage_is_told_where_it_is_met_and_nothing_is_written_from_then_on",
        ]),
    },
    Mutant {
        name: "believe any index",
        file: LOAD,
        find: "            if !self.hashes.contains(&hash) {",
        replace: "            if false {",
        catch: store(&[
            "instant_damage::an_index_that_was_made_up_is_damage_and_never_another_value",
        ]),
    },
    Mutant {
        name: "write a long frame amid zeros",
        file: LOG,
        find: "        let touches = bytes > POPULATE_BYTES / 4 && tail.making != Making::Zeros;\n",
        replace: "        let touches = bytes > POPULATE_BYTES / 4;\n",
        catch: AMID_ZEROS,
    },
    Mutant {
        name: "end a segment that zeros are written to",
        file: LOG,
        find: "        if tail.making == Making::Zeros {\n            return Err(Refused::Wait(Wait::Populate));\n        }\n",
        replace: "",
        catch: AMID_ZEROS,
    },
    Mutant {
        name: "let a compaction end it",
        file: KEEPER,
        find: "        self.wait_for_zeros(&mut tail);\n        let checked = tail.check_open();\n",
        replace: "        let checked = tail.check_open();\n",
        catch: AMID_ZEROS,
    },
    Mutant {
        name: "put a mark amid zeros",
        file: COMMIT,
        find: "            self.wait_for_zeros(&mut tail);\n",
        replace: "",
        catch: Tests {
            package: "pkv-store",
            target: "--lib",
            names: &["log::tests::a_mark_waits_for_zeros_that_are_being_written"],
            cfg: None,
        },
    },
    Mutant {
        name: "take a log that lost its first frame for one made ahead",
        file: LOGS,
        find: "    Ok(look == Look::Whole && last_nonzero(file, path, file_bytes, FRAMES_OFFSET)?.is_some())\n",
        replace: "    let _ = (look, path, file_bytes);\n    Ok(false)\n",
        catch: store(&["read_only::every_way_of_reading_says_the_same_of_a_harmed_log"]),
    },
    Mutant {
        name: "tell of an expiry that the log does not hold",
        file: EXPIRY,
        find: "        self.record_time_if_possible(expired_ms);\n        answer\n",
        replace: "        answer\n",
        catch: store(&["crash_expiry::after_a_kill_nothing_comes_back_that_was_seen_to_be_gone"]),
    },
    Mutant {
        name: "tell watches in the order of arrival",
        file: HUB,
        find: "            Phase::On(next) if seq == next => {",
        replace: "            Phase::On(_) => {",
        catch: store(&[
            "watching::changes_of_many_threads_come_in_order_and_lead_to_what_the_store_holds",
        ]),
    },
    Mutant {
        name: "drop a folder sync",
        file: SET,
        find: "        // 4.\n        self.sync_dir()?;\n        let info",
        replace: "        let info",
        catch: store(&[POWER_CUT]),
    },
    Mutant {
        name: "drop a log sync",
        file: PASS,
        find: "self.released_to());\n        self.log.file.sync_data()",
        replace: "self.released_to());\n        Ok(())",
        catch: store(&[POWER_CUT]),
    },
    Mutant {
        name: "rename before sync",
        file: COMPACT,
        find: "        self.file.sync_data()?;\n        Ok(self.offset + ",
        replace: "        Ok(self.offset + ",
        catch: store(&[POWER_CUT]),
    },
    Mutant {
        name: "unlink before the folder sync",
        file: PUBLISH,
        find: "        // 4.\n        self.sync_dir()?;\n",
        replace: "",
        catch: Tests {
            package: "pkv-snapshot-set",
            target: "publish_crash",
            names: &[],
            cfg: None,
        },
    },
    Mutant {
        name: "the space of a purge is given back with the set locked",
        file: PRUNE,
        find: "Removal::holding(files_max, files_max)",
        replace: "Removal::holding(files_max, 0)",
        catch: store(&["purging::writers_do_not_wait"]),
    },
    Mutant {
        name: "who compacts by hand waits for the space",
        file: PURGE,
        find: "        if !self.options.background || ",
        replace: "        if self.options.background || ",
        catch: store(&["purging::who_compacts_by_hand"]),
    },
    Mutant {
        name: "space that comes later is missed",
        file: RESERVE,
        find: "            if MutexGuard::unlocked(&mut tail, || self.folder.room_has_come_since(now)) {",
        replace: "            if false {",
        catch: store(&["purging::a_disk_that_is_full"]),
    },
    Mutant {
        name: "a log that found the disk full is not tried again when space has come",
        file: KEEPER,
        find: "            if !self.folder.room_has_come_since(now) {",
        replace: "            if true {",
        catch: store(&["purging::what_another_caller"]),
    },
    Mutant {
        name: "a purge leaves no file to the sync behind it",
        file: PRUNE,
        find: "                removal.spare_files();\n",
        replace: "",
        catch: Tests { package: "pkv-snapshot-set", target: "purge", names: &[], cfg: None },
    },
    Mutant {
        name: "writers at the limit of the logs wait for space",
        file: COMPACT,
        find: "        self.purge();\n",
        replace: "        self.purge();\n        self.folder.space.give_back();\n",
        catch: store(&["purging::a_writer_at_the_limit"]),
    },
    Mutant {
        name: "the space of a snapshot that failed is given back with the set locked",
        file: PURGE,
        find: "self.folder.with_set(|set| Ok(set.give_up_pending(ordinal)?)).is_ok()",
        replace: "self.folder.remove(ordinal.0).is_ok()",
        catch: store(&["purging::writers_do_not_wait_for_the_space_of_a_snapshot_that"]),
    },
    Mutant {
        name: "a backup goes with pending files of its ordinal",
        file: PRUNE,
        find: "(info.snapshot_type, info.ordinal) == (snapshot_type, ordinal)",
        replace: "info.ordinal == ordinal",
        catch: Tests { package: "pkv-snapshot-set", target: "purge", names: &[], cfg: None },
    },
    Mutant {
        name: "a pending file that cannot be removed keeps all others",
        file: PRUNE,
        find: "            if is_left && snapshot_type == SnapshotType::FullCompleted {",
        replace: "            if is_left {",
        catch: Tests { package: "pkv-snapshot-set", target: "purge", names: &[], cfg: None },
    },
    Mutant {
        name: "an opening that lacks room fails each time",
        file: CORE,
        find: "            Err(error) if is_full(&error) => {",
        replace: "            Err(error) if false && is_full(&error) => {",
        catch: store(&["purging::an_opening_that_lacks_room"]),
    },
    Mutant {
        name: "an opening waits for the space of an interrupted snapshot",
        file: CORE,
        find: ".leave_dropped(options.background)",
        replace: ".leave_dropped(false)",
        catch: store(&["purging::an_opening_does_not"]),
    },
    Mutant {
        name: "a purge by steps goes on to the diffs before the folder is synced",
        file: PRUNE,
        find: "                self.sync_dir()?;\n                return failed",
        replace: "                return failed",
        catch: Tests {
            package: "pkv-snapshot-set",
            target: "publish_crash",
            names: &[],
            cfg: None,
        },
    },
    Mutant {
        name: "no offset in the header checksum's seed",
        file: FRAME,
        find: "= offset.to_le_bytes();",
        replace: "= (offset & 0).to_le_bytes();",
        catch: FORMAT_LOG,
    },
    Mutant {
        name: "accept kind 0",
        file: FRAME,
        find: "            FRAME_KIND_DATA => Some(FrameKind::Data),",
        replace: "            0 | FRAME_KIND_DATA => Some(FrameKind::Data),",
        catch: FORMAT_LOG,
    },
    Mutant {
        name: "acknowledge before everything lower is durable",
        file: PASS,
        find: "        if seq > self.durable_seq() {\n",
        replace: "        let seq = tail.last_seq;\n        if seq > self.durable_seq() {\n",
        catch: store(&["crash_threads::a_power_cut_amid_threads_leaves_a_prefix"]),
    },
    Mutant {
        name: "append after a torn end",
        file: REPAIR,
        find: "        if log.seal.is_none() {",
        replace: "        if log.seal.is_none() && log.dropped_bytes == 0 {",
        catch: store(&[POWER_CUT]),
    },
    Mutant {
        name: "ignore the footer",
        file: LOAD,
        find: "    let footers = footers.into_iter().collect::<Result<Vec<Footer>>>()?;\n",
        replace: "    let footers: Vec<Footer> = footers.into_iter().flatten().collect();\n",
        catch: store(&["corrupt::every_harm_to_a_closed_store_is_found"]),
    },
    Mutant {
        name: "retry a failed sync",
        file: PASS,
        find: "self.released_to());\n        self.log.file.sync_data()",
        replace: "self.released_to());\n        self.log.file.sync_data().or_else(|_| self.log.file.sync_data())",
        catch: store(&["faults::every_call_may_fail_mapped"]),
    },
    Mutant {
        name: "lock after the scan",
        file: SET,
        find: LOCK_THEN_SCAN,
        replace: SCAN_THEN_LOCK,
        catch: store(&["defects::d07"]),
    },
    Mutant {
        name: "recovery neither rewrites nor syncs what it relied on",
        file: REPAIR,
        find: "        let Some(from) = from else { continue };",
        replace: "        let Some(from) = from.filter(|_| false) else { continue };",
        catch: store(&["crash_sim::a_crash_during_recovery", "crash_sim::a_seal_that"]),
    },
    Mutant {
        name: "a log with an ordinal below the pending snapshot that starts",
        file: COMPACT,
        find: "        let created = self.folder.with_set(|set| {\n            Ok(set.create_or_get_snapshot(SnapshotType::Pending, shard_count.into(), false)?)\n        });\n        let info = created.map_err(|error| self.log.note_failure(error))?;\n        // 2.\n        let segment_bytes = self.log.fresh_segment_bytes(&self.snapshot_space());\n        let rotated = self.log.prepare(segment_bytes).and_then(|fresh| self.log.rotate_to(fresh));\n",
        replace: "        let segment_bytes = self.log.fresh_segment_bytes(&self.snapshot_space());\n        let fresh = self.log.prepare(segment_bytes)?;\n        let created = self.folder.with_set(|set| {\n            Ok(set.create_or_get_snapshot(SnapshotType::Pending, shard_count.into(), false)?)\n        });\n        let info = created.map_err(|error| self.log.note_failure(error))?;\n        let rotated = self.log.rotate_to(fresh);\n",
        catch: store(&[POWER_CUT]),
    },
    Mutant {
        name: "others may come between the conditions of a batch and its changes",
        file: WRITE,
        find: "            checked?;\n",
        replace: "            checked?;\n            drop(shards);\n            std::thread::yield_now();\n            shards = prepared.lock(&self.map);\n",
        catch: store(&["crash_threads::a_kill_amid_threads_loses_nothing"]),
    },
    Mutant {
        name: "a view is not told of a batch",
        file: WRITE,
        find: "                prepared.keep(&self.map, &self.views, &shards);\n",
        replace: "",
        catch: store(&["views::no_view_shows_a_part_of_a_batch", "views::views_follow_a_model"]),
    },
    Mutant {
        name: "a copy that misses entries when a bucket splits",
        file: COPY,
        find: "        Ok(slice.last.checked_add(1).map(Cursor))",
        replace: "        let first = self.buckets.at(0).last;\n        Ok(first.checked_add(1).and_then(|step| cursor.0.checked_add(step)).map(Cursor))",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a watermark that speaks only for the newest file",
        file: PASS,
        find: "            .try_for_each(|log| log.make_durable(&self.folder))",
        replace: "            .try_for_each(|_| pkv_fs::Result::Ok(()))",
        catch: store(&["crash_sim::a_link_in_the_middle"]),
    },
    Mutant {
        name: "a footer without its end sequence number",
        file: COMPACT,
        find: "            end_seq: self.core.log.last_seq(),",
        replace: "            end_seq: rotated.start_seq,",
        catch: store(&["crash_threads::a_snapshot_speaks"]),
    },
    Mutant {
        name: "a sealed file cut short and accepted",
        file: REPLAY,
        find: "            End::Clean if log.file_bytes < header.segment_bytes => {",
        replace: "            End::Clean if log.file_bytes > header.segment_bytes => {",
        catch: store(&["corrupt::every_harm_to_a_closed_store_is_found"]),
    },
    Mutant {
        name: "a log that takes the space of the next snapshot",
        file: RESERVE,
        find: "        if may_have(wished_bytes) {\n",
        replace: "        if true {\n",
        catch: store(&["faults::the_log_leaves_space_for_the_snapshot"]),
    },
    Mutant {
        name: "a value visible after its write failed",
        file: WRITE,
        find: "                reserved.map_err(|_| Error::OutOfMemory)?;\n            }\n            // 4.\n            shard.announce(hash);\n            let seq = match self.log.append(&mut frame) {\n                Ok(seq) => seq,\n                Err(Refused::Failed(error)) => return Err(self.refused(shard, error)),",
        replace: "                reserved.map_err(|_| Error::OutOfMemory)?;\n            }\n            // 4.\n            let seq = match self.log.append(&mut frame) {\n                Ok(seq) => seq,\n                Err(Refused::Failed(error)) => {\n                    if let Some(value) = value {\n                        shard.set(hash, key, &value, &mut garbage);\n                    }\n                    return Err(error);\n                }",
        catch: store(&["faults::every_call_may_fail_written"]),
    },
    Mutant {
        name: "a condition that sees the value from before the lock",
        file: WRITE,
        find: "            let mut shard = self.map.write(index);\n            if !is_as_prepared {\n                // Also where it was decided otherwise before the log had room, and that is in the frame.\n                shard.prefetch_index(hash);\n                large = encode(&self.map, &mut frame, key, prepare)?;\n                is_as_prepared = true;\n            }\n            let is_decided = matches!(prepare, Prepare::SetAlways(_));\n            let looked_up = (!is_decided || self.watch.is_on()).then(|| shard.find(hash, key));\n            let (found, current) = looked_up.unzip();\n            let current = current.flatten();\n            let decision = if is_decided {\n                Decision::AsPrepared\n            } else {\n                decide(current.as_ref().map(ValueRef::as_bytes), &mut buffer)?",
        replace: "            let early =\n                self.map.read(index).get(hash, key).map(|value| value.as_bytes().to_vec());\n            let mut shard = self.map.write(index);\n            if !is_as_prepared {\n                // Also where it was decided otherwise before the log had room, and that is in the frame.\n                shard.prefetch_index(hash);\n                large = encode(&self.map, &mut frame, key, prepare)?;\n                is_as_prepared = true;\n            }\n            let is_decided = matches!(prepare, Prepare::SetAlways(_));\n            let looked_up = (!is_decided || self.watch.is_on()).then(|| shard.find(hash, key));\n            let (found, current) = looked_up.unzip();\n            let current = current.flatten();\n            let decision = if is_decided {\n                Decision::AsPrepared\n            } else {\n                decide(early.as_deref(), &mut buffer)?",
        catch: store(&["linear::operations_on_a_key"]),
    },
    Mutant {
        name: "a wake-up of the sync thread that gets lost",
        file: COMMIT,
        find: "        drop(self.waiting.lock());\n        self.wanted.notify_one();",
        replace: "        self.wanted.notify_one();",
        catch: orders(&["what_nobody_waits_for"]),
    },
    Mutant {
        name: "those who wait for a sync are woken before it is another's turn",
        file: COMMIT,
        find: "            waiting.lead = Lead::Free;\n            waiting.sync_number\n        };\n        // The next sync begins while those of this one are woken.\n        self.log.commit.lead_freed.notify_all();\n        self.log.commit.rounds_of(sync_number).end();\n",
        replace: "            waiting.sync_number\n        };\n        self.log.commit.lead_freed.notify_all();\n        self.log.commit.rounds_of(sync_number).end();\n        self.log.commit.waiting.lock().lead = Lead::Free;\n",
        catch: orders(&["nobody_is_told"]),
    },
    Mutant {
        name: "who was to make the next sync needs none and tells nobody",
        file: COMMIT,
        find: "        waiting.heir_of = 0;\n        drop(waiting);\n        self.commit.rounds_of(sync_number).end();\n        Ok(self.commit.waiting.lock())\n",
        replace: "        Ok(waiting)\n",
        catch: orders(&["who_waits_for"]),
    },
    Mutant {
        name: "who was to make the next sync sees the log poisoned and makes none",
        file: COMMIT,
        find: "        if self.durable_seq() < seq {\n            return self.sync_as_leader(waiting, seq);\n        }\n",
        replace: "        if self.durable_seq() < seq {\n            return Ok(waiting);\n        }\n",
        catch: orders(&["a_failed_write"]),
    },
    Mutant {
        name: "who waits for the next sync waits for the one under way",
        file: COMMIT,
        find: "            let rounds = self.commit.rounds_of(sync_number);\n            let round",
        replace: "            let rounds = self.commit.rounds_of(waiting.sync_number);\n            let round",
        catch: orders(&["who_waits_for"]),
    },
    Mutant {
        name: "a segment rotated away during a sync counts as synced",
        file: PASS,
        find: "        for _ in &behind {\n            if let",
        replace: "        while !tail.behind.is_empty() {\n            if let",
        catch: orders(&["nobody_is_told"]),
    },
    Mutant {
        name: "closing does not wait for a thread",
        file: CORE,
        find: "            if thread.thread().id() != this_thread {",
        replace: "            if thread.thread().id() != this_thread && thread.is_finished() {",
        catch: orders(&["nobody_is_told"]),
    },
    Mutant {
        name: "a read does not go on behind a full group without the tag",
        file: TABLE,
        find: "            None => First::Behind,\n",
        replace: "            None => First::Nowhere,\n",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a write finds no record with a long key or a large value",
        file: RECORD,
        find: "short_value_of(bytes, key).is_some() || value_of_any(bytes, key).is_some()",
        replace: "short_value_of(bytes, key).is_some()",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a read finds no record with a long key or a large value",
        file: SHARD,
        find: "                    None => self.get_any_bytes(hash, key),\n",
        replace: "                    None => None,\n",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a writer does not wait for who reads by the lock's bias",
        file: BIASED,
        find: "            wait_while(|| place.lock.load(Ordering::Acquire) == ending.mark);\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a writer does not wait for who is announced for many locks",
        file: BIASED,
        find: "                wait_while(|| place.many.load(Ordering::Acquire) == many);\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a writer waits for who is announced anew",
        file: BIASED,
        find: "self.next & u64::from(u32::MAX)",
        replace: "0 * self.next",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a write leaves the lock its bias",
        file: BIASED,
        find: "        ending.biased_by.store(0, Ordering::Relaxed);\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a bias ends without a barrier",
        file: BIASED,
        find: "    barrier::make();\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "who is announced for many locks reads one without a bias",
        file: BIASED,
        find: "        if self.biased_by.load(Ordering::Acquire) != announced.number {\n            return None;\n        }\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "reads between writes add up to a bias",
        file: BIASED,
        find: "        self.reads.store(0, Ordering::Relaxed);\n        RwWriteGuard(guard)\n",
        replace: "        RwWriteGuard(guard)\n",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "other readers take over a lock's bias",
        file: BIASED,
        find: "            let _ = self.biased_by.compare_exchange(0, readers.number, released, relaxed);\n",
        replace: "            let _ = relaxed;\n            self.biased_by.store(readers.number, released);\n",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a thread keeps its place when it ends",
        file: "crates/pkv-fs/src/biased/place.rs",
        find: "            place.is_taken.store(false, Ordering::Release);\n",
        replace: "",
        catch: BIASED_TESTS,
    },
    Mutant {
        name: "a key that cannot be shown gets votes",
        file: READ,
        find: "key.len() + value.len() <= hot::BYTES_MAX && self.votes",
        replace: "self.votes",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "who reads a key alone has it shown",
        file: READ,
        find: "if is_shared(&slot.shard) {",
        replace: "if true {",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a value is shown without a look whether it changed meanwhile",
        file: HOT,
        find: "        let is_whole = self.version.load(Ordering::Relaxed) == version;\n",
        replace: "        let is_whole = true;\n",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a key that was removed is still shown",
        file: MAP,
        find: "            self.slot.hot.remove();\n        }\n        self.shard.remove_found",
        replace: "        }\n        self.shard.remove_found",
        catch: orders(&["operations_on_a_key"]),
    },
    Mutant {
        name: "what was cleared is still shown",
        file: MAP,
        find: "        self.slot.hot.remove();\n        self.shard.take_contents()",
        replace: "        self.shard.take_contents()",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a write has a number before its key is closed to who reads without a lock",
        file: WRITE,
        find: "            shard.announce(hash);\n",
        replace: "",
        catch: orders(&["what_has_a_number_is_read"]),
    },
    Mutant {
        name: "a batch has a number before its keys are closed to who reads without a lock",
        file: WRITE,
        find: "            prepared.announce(&shards);\n",
        replace: "",
        catch: orders(&["what_has_a_number_is_read"]),
    },
    Mutant {
        name: "a write of two pages is written by a call",
        file: MARK,
        find: "active.end % page_bytes + MARK_FRAME_BYTES",
        replace: "MARK_FRAME_BYTES",
        catch: LOG_TESTS,
    },
    Mutant {
        name: "a write is written by a call where others were copied before",
        file: MARK,
        find: "self.mark_due == Some(self.last_seq)",
        replace: "self.mark_due.is_some()",
        catch: LOG_TESTS,
    },
    Mutant {
        name: "a call waits for zeros that are being written",
        file: MARK,
        find: "            && self.making != Making::Zeros\n",
        replace: "",
        catch: LOG_TESTS,
    },
    Mutant {
        name: "a ready chunk is larger than an offset can tell",
        file: READY,
        find: "    bytes.min(CHUNK_BYTES_MAX - ALLOCATION_HEADER_BYTES).max(wanted_bytes)",
        replace: "    bytes",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "long records have small chunks",
        file: CHUNK,
        find: "    lossless(record_bytes) * 64 > chunk_bytes\n",
        replace: "    record_bytes == 0 && chunk_bytes == 0\n",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "long records throw the ready chunks away",
        file: CHUNK,
        find: "is_usual: target == usual }",
        replace: "is_usual: true }",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a large value that somebody holds counts as ready",
        file: READY_VALUES,
        find: " || Arc::get_mut(&mut value).is_none()",
        replace: "",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "each large value of another length throws the ready ones away",
        file: READY_VALUES,
        find: "        } else if self.in_a_row == IN_A_ROW {",
        replace: "        } else {",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "more large values are made ready than were wanted",
        file: READY_VALUES,
        find: "self.count_max().min(self.wanted + 1)",
        replace: "self.count_max()",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a large value that was replaced is not filled again",
        file: MAP,
        find: "            self.ready_values.give_back(value);\n",
        replace: "            drop(value);\n",
        catch: MAP_TESTS,
    },
    Mutant {
        name: "a batch changes a key in another order than its own",
        file: BATCH,
        find: "(changes.get(*number).map(|c| c.shard), *number)",
        replace: "(changes.get(*number).map(|c| c.shard), std::cmp::Reverse(*number))",
        catch: store(&["api::the_last_change_of_a_key"]),
    },
    Mutant {
        name: "a backup believes one listing",
        file: SOURCE,
        find: "                    if before.as_ref() == Some(&text) {",
        replace: "                    if !text.is_empty() {",
        catch: store(&["backup::an_error_counts"]),
    },
    Mutant {
        name: "a backup believes damage that it met once",
        file: SOURCE,
        find: "        Ok(is_met_twice && (self.is_last_look || !self.has_changed()?))",
        replace: "        Ok(is_met_twice || !self.has_changed()?)",
        catch: store(&["backup::an_error_counts"]),
    },
    Mutant {
        name: "of what is damaged while logs change a backup says that they change",
        file: SOURCE,
        find: "(self.is_last_look || !self.has_changed()?)",
        replace: "!self.has_changed()?",
        catch: store(&["backup::damage_is_told"]),
    },
    Mutant {
        name: "a backup trusts one listing",
        file: SOURCE,
        find: "                let is_whole = shows_all(&listed, &first);",
        replace: "                let is_whole = true;",
        catch: store(&["backup::a_name_that_one_listing"]),
    },
    Mutant {
        name: "a backup opens what the first of two listings shows",
        file: SOURCE,
        find: "                is_whole.then(|| Self::open_files(fs, dir, &listed)).transpose()",
        replace: "                is_whole.then(|| Self::open_files(fs, dir, &first)).transpose()",
        catch: store(&["backup::a_name_that_one_listing"]),
    },
    Mutant {
        name: "what is damaged below the latest snapshot fails a backup while logs change",
        file: "crates/pkv-store/src/backup/mod.rs",
        find: "if source.has_changed()? && !source.is_believed(&error)?",
        replace: "if source.has_changed()?",
        catch: store(&["backup::damage_is_told"]),
    },
    Mutant {
        name: "a log that the listing missed is the end for a reader",
        file: REPLAY,
        find: "        if self.there.iter().any(|(ordinal, _)| *ordinal > named.ordinal) {\n            return Ok(false);\n        }\n",
        replace: "",
        catch: store(&["read_only::a_log_that_the_listing"]),
    },
    Mutant {
        name: "a log that the listing missed ends a backup",
        file: SOURCE,
        find: "        if opened.is_some_and(|opened| id.ordinal <= opened) {",
        replace: "        if opened.is_some_and(|opened| opened < id.ordinal && id.ordinal < opened) {",
        catch: store(&["backup::an_error_counts"]),
    },
    Mutant {
        name: "large values of the length before stay for ever",
        file: READY_VALUES,
        find: "        drop(self.keep(value));\n        self.free_unfit();\n",
        replace: "        drop(self.keep(value));\n",
        catch: MAP_TESTS,
    },
];
