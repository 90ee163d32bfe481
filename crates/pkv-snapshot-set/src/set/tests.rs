//! Names in, judgement out.

use super::*;

fn entries(names: &[&str]) -> Vec<Entry> {
    names.iter().map(|name| Entry { name: name.into(), kind: EntryKind::File }).collect()
}

fn judged(names: &[&str]) -> Judgement {
    judge(Path::new("dir"), &entries(names))
}

/// `1d` for a whole diff 1, `7f` for a full snapshot, in the order of the judgement.
fn whole(judgement: &Judgement) -> Vec<String> {
    short(judgement.snapshots.iter())
}

fn short<'a>(snapshots: impl Iterator<Item = &'a SnapshotInfo>) -> Vec<String> {
    let short = |info: &SnapshotInfo| {
        let letter = info.snapshot_type.to_string().remove(0);
        format!("{}{letter}", info.ordinal)
    };
    snapshots.map(short).collect()
}

fn missing(problem: &Inconsistency) -> (u64, u64, &[u64], u64) {
    match problem {
        Inconsistency::MissingShards { ordinal, shard_count, missing, missing_count, .. } => {
            (ordinal.0, *shard_count, missing, *missing_count)
        }
        other => panic!("{other}"),
    }
}

const D1: &str = "snapshot_1_0-of-1_diff.bin";
const F2: &str = "snapshot_2_0-of-1_full.bin";
const D3A: &str = "snapshot_3_0-of-2_diff.bin";
const D3B: &str = "snapshot_3_1-of-2_diff.bin";
const F5A: &str = "snapshot_5_0-of-2_full.bin";
const F5B: &str = "snapshot_5_1-of-2_full.bin";
const P5A: &str = "snapshot_5_0-of-2_pending.bin";
const P5B: &str = "snapshot_5_1-of-2_pending.bin";
const D6: &str = "snapshot_6_0-of-1_diff.bin";
const F7: &str = "snapshot_7_0-of-1_full.bin";

#[test]
fn an_empty_folder_holds_nothing() {
    assert_eq!(judged(&[]), Judgement::default());
    assert!(to_restore(&[]).is_empty());
}

#[test]
fn foreign_names_are_counted_and_the_lock_is_not_foreign() {
    let judgement = judged(&[".DS_Store", "snapshot_01_0-of-1_diff.bin", LOCK_FILE_NAME, D1]);
    assert_eq!(judgement.report.foreign_names, 2);
    assert_eq!(whole(&judgement), ["1d"]);
    assert_eq!(judgement.problems, []);
    assert_eq!(judgement.highest_ordinal, Some(SnapshotOrdinal(1)));
}

#[test]
fn snapshots_are_ordered_by_number_whatever_the_order_of_the_names() {
    let names: Vec<String> = (0..16)
        .rev()
        .map(|shard| format!("snapshot_10_{shard}-of-16_diff.bin"))
        .chain([String::from(D1), String::from(F2)])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let judgement = judged(&names);
    assert_eq!(whole(&judgement), ["1d", "2f", "10d"]);
    let paths = &judgement.snapshots[2].shard_paths;
    for (shard, path) in paths.iter().enumerate() {
        assert_eq!(*path, Path::new("dir").join(format!("snapshot_10_{shard}-of-16_diff.bin")));
    }
    assert_eq!(paths.len(), 16);
}

#[test]
fn restoring_takes_the_latest_full_snapshot_and_the_diffs_above_it() {
    let judgement = judged(&[D1, F2, D3A, D3B, F5A, F5B, D6]);
    assert_eq!(short(to_restore(&judgement.snapshots).into_iter()), ["5f", "6d"]);
    let since = |ordinal| diffs_since(&judgement.snapshots, SnapshotOrdinal(ordinal)).into_iter();
    assert_eq!(short(since(0)), ["1d", "3d", "6d"]);
    assert_eq!(short(since(3)), ["6d"]);
    let judgement = judged(&[D1, D3B, D3A]);
    assert_eq!(short(to_restore(&judgement.snapshots).into_iter()), ["1d", "3d"]);
}

#[test]
fn a_pending_snapshot_is_dropped_whole_or_not() {
    for names in [&[D1, P5A, P5B][..], &[D1, P5B], &[P5A, D1, "snapshot_5_2-of-9_pending.bin"]] {
        let judgement = judged(names);
        assert_eq!(judgement.report.dropped_pendings, [SnapshotOrdinal(5)], "{names:?}");
        assert_eq!(judgement.pendings[0].paths.len(), names.len() - 1);
        assert_eq!(judgement.problems, []);
        assert_eq!(whole(&judgement), ["1d"]);
        assert_eq!(judgement.highest_ordinal, Some(SnapshotOrdinal(5)));
    }
}

#[test]
fn every_mix_of_pending_and_full_names_of_one_publish_opens() {
    for mix in 0..256_u32 {
        let is_full = |shard: &u32| mix & (1 << shard) != 0;
        let names: Vec<String> = (0..8)
            .map(|shard| {
                let word = if is_full(&shard) { "full" } else { "pending" };
                format!("snapshot_9_{shard}-of-8_{word}.bin")
            })
            .chain([String::from(D1)])
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let judgement = judged(&names);
        assert_eq!(judgement.problems, [], "{mix:b}");
        assert_eq!(judgement.unfinished, None);
        if mix == 0 {
            assert_eq!(whole(&judgement), ["1d"]);
            assert_eq!(judgement.report.dropped_pendings, [SnapshotOrdinal(9)]);
        } else {
            assert_eq!(whole(&judgement), ["1d", "9f"], "{mix:b}");
            assert_eq!(judgement.pendings, [], "{mix:b}");
            let renamed: Vec<_> =
                judgement.renames.iter().map(|rename| rename.to.clone()).collect();
            let expected: Vec<_> = (0..8)
                .filter(|shard| !is_full(shard))
                .map(|shard| PathBuf::from(format!("dir/snapshot_9_{shard}-of-8_full.bin")))
                .collect();
            assert_eq!(renamed, expected, "{mix:b}");
        }
    }
}

#[test]
fn an_interrupted_publish_below_the_latest_full_snapshot_is_finished_too() {
    let judgement = judged(&[P5A, F5B, F7]);
    assert_eq!(whole(&judgement), ["5f", "7f"]);
    assert_eq!(judgement.report.rolled_forward, [SnapshotOrdinal(5)]);
    assert_eq!(judgement.renames.len(), 1);
}

#[test]
fn lost_shards_of_the_latest_full_snapshot_are_named() {
    let judgement = judged(&[D1, F2, F5B, D6]);
    assert_eq!(missing(&judgement.problems[0]), (5, 2, &[0][..], 1));
    // Also when what is left of a publish is not whole, and even if an older one is.
    let judgement = judged(&[F2, "snapshot_5_0-of-4_full.bin", "snapshot_5_2-of-4_pending.bin"]);
    assert_eq!(missing(&judgement.problems[0]), (5, 4, &[1, 3][..], 2));
    assert_eq!(judgement.pendings, []);
}

#[test]
fn lost_shards_of_a_needed_diff_are_named() {
    let judgement = judged(&[F2, D3B, D6]);
    assert_eq!(missing(&judgement.problems[0]), (3, 2, &[0][..], 1));
    assert_eq!(judgement.unfinished, None);
    // A pending snapshot above does not make it less needed.
    let judgement = judged(&[D3A, P5A, P5B, D6]);
    assert_eq!(missing(&judgement.problems[0]), (3, 2, &[1][..], 1));
}

#[test]
fn a_newest_diff_that_lacks_shards_is_left_to_a_look_at_its_files() {
    for names in [&[F2, D3B][..], &[D3B], &[F2, D3B, P5A]] {
        let judgement = judged(names);
        assert_eq!(judgement.problems, []);
        let (remains, why) = judgement.unfinished.expect("unfinished");
        assert_eq!(remains.paths, [Path::new("dir").join(D3B)]);
        assert_eq!(missing(&why), (3, 2, &[0][..], 1));
    }
}

#[test]
fn a_hostile_shard_count_costs_nothing_and_lists_a_few() {
    let judgement =
        judged(&["snapshot_1_3-of-18446744073709551615_full.bin", "snapshot_2_0-of-1_diff.bin"]);
    let expected = (1, u64::MAX, &[0, 1, 2, 4, 5, 6, 7, 8][..], u64::MAX - 1);
    assert_eq!(missing(&judgement.problems[0]), expected);
    let text = judgement.problems[0].to_string();
    assert!(text.contains("lacks 18446744073709551614 of 18446744073709551615 shards"), "{text}");
    assert!(text.contains("(0, 1, 2, 4, 5, 6, 7, 8, ...)"), "{text}");
}

#[test]
fn what_is_wrong_does_not_depend_on_the_order_in_which_a_folder_is_listed() {
    // Found by fuzzing: two looks at one folder named other files.
    let third = "snapshot_1_0-of-3_pending.bin";
    let names = [D1, "snapshot_1_0-of-2_pending.bin", third, D6, "snapshot_6_0-of-1_full.bin"];
    let first = judged(&names);
    assert_eq!(first.problems.len(), 2);
    for turn in 1..names.len() {
        let mut turned = names;
        turned.rotate_left(turn);
        assert_eq!(judged(&turned), first);
        turned.reverse();
        assert_eq!(judged(&turned), first);
    }
    let folders = |names: &[&str]| {
        let folder = |name: &&str| Entry { name: name.into(), kind: EntryKind::Directory };
        judge(Path::new("dir"), &names.iter().map(folder).collect::<Vec<_>>())
    };
    assert_eq!(folders(&[D1, D6]), folders(&[D6, D1]));
}

#[test]
fn files_that_contradict_each_other_are_named() {
    let table = [
        // Two counts.
        (vec![D6, "snapshot_6_1-of-2_diff.bin"], D6, "snapshot_6_1-of-2_diff.bin"),
        (vec![F7, "snapshot_7_1-of-2_full.bin"], F7, "snapshot_7_1-of-2_full.bin"),
        (vec![F5A, "snapshot_5_1-of-3_pending.bin"], F5A, "snapshot_5_1-of-3_pending.bin"),
        // One shard twice.
        (vec![F5A, F5B, P5B], F5B, P5B),
        // Two types.
        (vec!["snapshot_2_0-of-1_diff.bin", F2], "snapshot_2_0-of-1_diff.bin", F2),
        (vec!["snapshot_5_0-of-1_diff.bin", P5A, P5B], "snapshot_5_0-of-1_diff.bin", P5A),
    ];
    for (names, first, second) in table {
        let judgement = judged(&names);
        let ordinal = SnapshotFileName::parse(first.as_ref()).expect("a name").ordinal();
        let (first, second) = (Path::new("dir").join(first), Path::new("dir").join(second));
        let expected = Inconsistency::Contradiction { ordinal, first, second };
        assert_eq!(judgement.problems, [expected], "{names:?}");
    }
}

#[test]
fn what_has_the_name_of_a_shard_must_be_a_file() {
    for kind in [EntryKind::Directory, EntryKind::Other] {
        let mut entries = entries(&[F2]);
        entries.push(Entry { name: D6.into(), kind });
        entries.push(Entry { name: "lost+found".into(), kind });
        let judgement = judge(Path::new("dir"), &entries);
        let path = Path::new("dir").join(D6);
        assert_eq!(judgement.problems, [Inconsistency::NotAFile { path, kind }]);
        assert_eq!(judgement.report.foreign_names, 1);
    }
}

#[test]
fn below_the_latest_full_snapshot_no_subset_of_files_is_a_problem() {
    let below =
        [D1, F2, D3A, D3B, F5A, F5B, "snapshot_4_0-of-2_full.bin", "snapshot_4_1-of-2_full.bin"];
    for subset in 0..(1_u32 << below.len()) {
        let is_there = |index: usize| subset & (1 << index) != 0;
        let mut names: Vec<&str> =
            (0..below.len()).filter(|&index| is_there(index)).map(|index| below[index]).collect();
        names.extend([D6, F7, "snapshot_8_0-of-1_diff.bin"]);
        let judgement = judged(&names);
        assert_eq!(judgement.problems, [], "{names:?}");
        assert_eq!(judgement.unfinished, None, "{names:?}");
        assert_eq!(short(to_restore(&judgement.snapshots).into_iter()), ["7f", "8d"]);
        let halves = |a, b| usize::from(is_there(a) != is_there(b));
        assert_eq!(judgement.report.incomplete_diffs.len(), halves(2, 3), "{names:?}");
        assert_eq!(judgement.report.incomplete_fulls.len(), halves(4, 5) + halves(6, 7));
        let files: usize = judgement.remains.iter().map(|remains| remains.paths.len()).sum();
        assert_eq!(files, halves(2, 3) + halves(4, 5) + halves(6, 7));
    }
}

#[test]
fn an_older_full_snapshot_counts_if_its_full_names_alone_are_whole() {
    let judgement = judged(&[F5A, F5B, P5A, F7]);
    assert_eq!(whole(&judgement), ["5f", "7f"]);
    assert_eq!(judgement.report.dropped_pendings, [SnapshotOrdinal(5)]);
    assert_eq!(judgement.report.incomplete_fulls, []);
}

#[test]
fn retention_keeps_the_latest_and_the_newest_backups() {
    let snapshots = judged(&[D1, F2, D3A, D3B, F5A, F5B, D6, F7]).snapshots;
    let oldest_kept = |keep_backups| set_oldest(&snapshots, keep_backups);
    assert_eq!(oldest_kept(0), Some(7));
    assert_eq!(oldest_kept(1), Some(5));
    assert_eq!(oldest_kept(2), Some(2));
    assert_eq!(oldest_kept(3), Some(2));
    assert_eq!(oldest_kept(usize::MAX), Some(2));
    assert_eq!(set_oldest(&judged(&[D1, D3A, D3B]).snapshots, 0), None);
    assert_eq!(set_oldest(&[], 5), None);
}

fn set_oldest(snapshots: &[SnapshotInfo], keep_backups: usize) -> Option<u64> {
    oldest_kept(snapshots, keep_backups).map(|ordinal| ordinal.0)
}
