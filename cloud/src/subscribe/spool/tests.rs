//! A stream that reaches two members, over restarts, in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use telemetry::{BootId, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder};

use super::*;

fn vin() -> VinSegment {
    VinSegment::new("WVWZZZ1JZXW000001").unwrap()
}

/// Blocks with a keyframe every `interval`; the frame's name is the block's number.
fn blocks(count: u64, interval: u64) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE).unwrap();
    let thread = ThreadInfo { pid: 1, tid: 1, name: "bus".into(), class: SchedulingClass::default() };
    let block = |seq: u64| {
        let mut builder = WindowBuilder::new(seq * 1000);
        let frames = [Frame::Symbol(format!("block {seq}").into()), Frame::Symbol("main".into())];
        builder.push(1, &thread, &frames, 10).unwrap();
        if seq.is_multiple_of(interval) {
            encoder.request_keyframe();
        }
        encoder.encode(&builder.finish(1000)).unwrap()
    };
    (0..count).map(block).collect()
}

fn member(dir: &std::path::Path) -> Spool {
    Spool::new(Store::directory(dir).unwrap(), Duration::from_secs(3)).unwrap()
}

fn offer(spool: &mut Spool, block: &[u8]) {
    spool.offer(vin(), Stream::Profile, block).unwrap().unwrap();
}

/// Takes all that is there; what is taken last is settled.
fn drain(spool: &mut Spool, now: Instant, taken: &mut Vec<u64>) -> usize {
    let mut gaps = 0;
    while let Some(given) = spool.poll(now).unwrap() {
        match given {
            Given::Window { header, window, .. } => {
                let name = format!("block {}", header.seq);
                assert!(matches!(&window.stacks()[0][0], Frame::Symbol(it) if **it == *name));
                taken.push(header.seq);
            }
            Given::Gap { .. } => gaps += 1,
            Given::Refused { reason, .. } => panic!("{reason}"),
        }
    }
    gaps
}

#[test]
fn two_members_read_a_stream_that_neither_got_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (member(dir.path()), member(dir.path()));
    let (now, mut taken) = (Instant::now(), Vec::new());
    for (seq, block) in blocks(60, 30).iter().enumerate() {
        let spool = if seq % 2 == 0 { &mut one } else { &mut two };
        offer(spool, block);
        assert_eq!(drain(spool, now, &mut taken), 0);
    }
    assert_eq!(taken, (0..60).collect::<Vec<_>>());
}

#[test]
fn what_was_not_settled_is_given_again_after_a_crash_and_what_was_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = blocks(6, 30);
    let mut first = member(dir.path());
    let now = Instant::now();
    for block in &blocks[..4] {
        offer(&mut first, block);
    }
    for expected in 0..3 {
        let given = first.poll(now).unwrap().unwrap();
        assert!(matches!(given, Given::Window { header, .. } if header.seq == expected));
    }
    // Killed while the caller works on block 2; blocks 0 and 1 are settled.
    drop(first);
    let mut second = member(dir.path());
    let mut taken = Vec::new();
    drain(&mut second, now, &mut taken);
    offer(&mut second, &blocks[1]);
    offer(&mut second, &blocks[4]);
    drain(&mut second, now, &mut taken);
    assert_eq!(taken, [2, 3, 4]);
}

#[test]
fn a_block_that_stays_away_is_asked_for_after_the_grace_and_then_every_interval() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = member(dir.path());
    let (start, blocks, mut taken) = (Instant::now(), blocks(32, 30), Vec::new());
    for seq in [0, 2, 3] {
        offer(&mut spool, &blocks[seq]);
    }
    assert_eq!(drain(&mut spool, start, &mut taken), 0);
    let due = spool.next_wakeup().unwrap();
    assert_eq!(due, start + Duration::from_secs(3));
    assert_eq!(drain(&mut spool, due - Duration::from_millis(1), &mut taken), 0);
    assert_eq!(drain(&mut spool, due, &mut taken), 1);
    offer(&mut spool, &blocks[4]);
    assert_eq!(drain(&mut spool, due + REBIRTH_INTERVAL - Duration::from_millis(1), &mut taken), 0);
    assert_eq!(drain(&mut spool, due + REBIRTH_INTERVAL, &mut taken), 1);
    // A keyframe heals the stream; the blocks before it are still asked for.
    offer(&mut spool, &blocks[30]);
    assert_eq!(drain(&mut spool, due + REBIRTH_INTERVAL * 5, &mut taken), 1);
    // The member that had block 1 comes back.
    offer(&mut spool, &blocks[1]);
    drain(&mut spool, due + REBIRTH_INTERVAL * 6, &mut taken);
    assert_eq!(taken, [0, 30, 1, 2, 3, 4]);
}

/// Blocks that a vehicle is asked for, first and last of each run; `None` for whatever it has.
type Asked = Option<Vec<(u64, u64)>>;

/// Offers blocks, and tells what the vehicle is asked for in the hour after that, and after how many seconds.
fn asks(spool: &mut Spool, blocks: &[&Vec<u8>], start: Instant) -> Vec<(u64, Asked)> {
    for block in blocks {
        offer(spool, block);
    }
    let (mut asks, mut now) = (Vec::new(), start);
    while now < start + Duration::from_secs(3600) {
        while let Some(given) = spool.poll(now).unwrap() {
            if let Given::Gap { missing, .. } = given {
                asks.push(((now - start).as_secs(), missing));
            }
        }
        let Some(next) = spool.next_wakeup() else { break };
        assert!(next > now, "it wakes for nothing");
        now = next;
    }
    asks
}

#[test]
fn blocks_that_hold_up_nothing_are_asked_for_ever_less_often_and_then_no_more() {
    let (start, blocks) = (Instant::now(), blocks(40, 10));
    let mut spool = Spool::new(Store::memory(), Duration::from_secs(3)).unwrap();
    let given: Vec<_> = (0..=20).filter(|it| ![4, 9].contains(it)).map(|it| &blocks[it]).collect();
    let holes = Some(vec![(4, 4), (9, 9)]);
    let expected: Vec<_> = [3, 5, 9, 17, 33, 65].into_iter().map(|at| (at, holes.clone())).collect();
    assert_eq!(asks(&mut spool, &given, start), expected);
    // A new one is asked for with the old ones.
    let later = start + Duration::from_secs(7200);
    let told = asks(&mut spool, &[&blocks[22], &blocks[30]], later);
    assert_eq!(told.first(), Some(&(0, Some(vec![(4, 4), (9, 9), (21, 21), (23, 29)]))));
    assert_eq!(told.len(), 6);
}

#[test]
fn a_life_that_has_ended_in_a_gap_is_asked_about_for_a_minute() {
    let (start, blocks) = (Instant::now(), blocks(4, 10));
    let mut spool = Spool::new(Store::memory(), Duration::ZERO).unwrap();
    let told = asks(&mut spool, &[&blocks[0], &blocks[2]], start);
    let (blocks_asked, keyframes): (Vec<_>, Vec<_>) = told.iter().partition(|(_, missing)| missing.is_some());
    assert_eq!((blocks_asked.len(), keyframes.len()), (15, 15));
    assert_eq!(told.last().map(|(at, _)| *at), Some(58));
}

#[test]
fn what_comes_once_more_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, blocks, mut taken) = (member(dir.path()), blocks(3, 30), Vec::new());
    for seq in [0, 0, 1, 2, 2] {
        offer(&mut spool, &blocks[seq]);
        drain(&mut spool, Instant::now(), &mut taken);
    }
    assert_eq!((taken, spool.duplicates()), (vec![0, 1, 2], 2));
}

#[test]
fn a_broken_block_is_refused_and_its_good_twin_taken() {
    let mut spool = Spool::new(Store::memory(), Duration::ZERO).unwrap();
    let (now, blocks) = (Instant::now(), blocks(2, 30));
    let mut broken = blocks[0].clone();
    let last = broken.len() - 1;
    broken.truncate(last);
    offer(&mut spool, &broken);
    assert!(matches!(spool.poll(now).unwrap(), Some(Given::Refused { .. })));
    let mut taken = Vec::new();
    for block in &blocks {
        offer(&mut spool, block);
    }
    drain(&mut spool, now, &mut taken);
    assert_eq!(taken, [0, 1]);
}

#[test]
fn the_store_of_one_life_is_bounded() {
    let mut spool = Spool::new(Store::memory(), Duration::from_secs(3)).unwrap();
    let (now, blocks) = (Instant::now(), blocks(MAX_BLOCKS as u64 + 20, 1 << 20));
    // The keyframe never comes.
    for block in &blocks[1..] {
        offer(&mut spool, block);
        while spool.poll(now).unwrap().is_some() {}
    }
    let Store::Memory(folders) = &spool.store else { panic!("memory") };
    let kept = folders.values().map(BTreeMap::len).max().unwrap();
    assert!(kept <= MAX_BLOCKS + 1, "{kept} files");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever order blocks come in, through whichever member, how often: each is given once, and readable.
    #[test]
    fn every_block_is_given_once(
        arrivals in Just((0..20_usize).chain(0..20).collect::<Vec<_>>()).prop_shuffle(),
        members in proptest::collection::vec(0..3_u8, 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let blocks = blocks(20, 7);
        let mut spools = [member(dir.path()), member(dir.path())];
        let (now, mut taken) = (Instant::now(), Vec::new());
        for (arrival, who) in arrivals.into_iter().zip(members) {
            if who == 2 {
                // A crash between two settled windows.
                spools[0] = member(dir.path());
            }
            let spool = &mut spools[usize::from(who % 2)];
            offer(spool, &blocks[arrival]);
            drain(spool, now, &mut taken);
        }
        taken.sort_unstable();
        prop_assert_eq!(taken, (0..20).collect::<Vec<_>>());
    }
}
