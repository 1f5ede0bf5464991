//! Who gets the bus: ECUs of all identifiers, classes of traffic, a controller in trouble.

use super::*;
use canfd::bit_timing::BitTiming;
use canfd::bus::ControllerState;
use canfd::frame::{FdFrame, FrameFormat};
use canfd::pacing::Share;

const FINISHED: &str = "2.0.0";

/// The longest frame there is at 500 kbit/s and 2 Mbit/s, every stuff bit in it.
const LONGEST_FRAME: Duration = Duration::from_micros(420);

fn finished() -> EcuReport {
    EcuReport::Finished { version: FINISHED.to_owned() }
}

fn telemetry(tag: u8) -> FdFrame {
    FdFrame::new(CanId::standard(0x7F0).unwrap(), FrameFormat::Fd { brs: true }, &[tag; 64]).unwrap()
}

/// All ECUs are programmed at once, and none needs any time of its own.
fn program_all(bench: &mut Bench) {
    for at in 0..bench.ecus.len() {
        bench.ecus[at].pace = Duration::ZERO;
        bench.order(at, program(at));
    }
    bench.run();
    for at in 0..bench.ecus.len() {
        assert_eq!(bench.reports_of(at).last(), Some(&&finished()), "ECU {at}");
        assert!(bench.ecus[at].programmed == image(at), "ECU {at} holds something else");
    }
}

#[test]
fn ecus_without_turnaround_do_not_keep_those_of_higher_identifiers_from_the_bus() {
    for count in [2_u32, 4, 8] {
        let mut bench = Bench::new(&vec![physical(); count as usize]);
        program_all(&mut bench);
        // The bound that `silence.rs` states: a burst, two frames of ours, one of each other ECU, itself included.
        let bound = 5 * MS + LONGEST_FRAME * 2 + LONGEST_FRAME * count;
        for (at, ecu) in bench.ecus.iter().enumerate() {
            assert!(ecu.longest_wait <= bound, "ECU {at} of {count} waited {:?}", ecu.longest_wait);
        }
    }
}

#[test]
fn silences_cost_two_ecus_less_than_a_tenth_of_the_bus_and_one_ecu_nothing() {
    let duration = |count: usize| {
        let mut bench = Bench::new(&vec![physical(); count]);
        program_all(&mut bench);
        let whole = EcuReport::Acknowledged { offset: 20_000 };
        let begins = EcuReport::TransferBegins { offset: 0 };
        let first = (0..count).filter_map(|at| bench.when(at, &begins)).min().unwrap();
        let last = (0..count).filter_map(|at| bench.when(at, &whole)).max().unwrap();
        last - first
    };
    let (one, two) = (duration(1), duration(2));
    assert!(two >= one * 18 / 10 && two < one * 22 / 10, "{one:?} and {two:?}");
}

#[test]
fn ecus_fill_the_gaps_that_the_turnaround_of_others_leaves() {
    let duration = |count: usize| {
        let mut bench = Bench::new(&vec![physical(); count]);
        for at in 0..count {
            // Each answer costs the ECU 20 ms, as programming a block does.
            bench.ecus[at].pace = 20 * MS;
            bench.order(at, program(at));
        }
        bench.run();
        (0..count).map(|at| bench.when(at, &finished()).unwrap()).max().unwrap()
    };
    let (one, four) = (duration(1), duration(4));
    assert!(four < one * 13 / 10, "four ECUs take {four:?}, one {one:?}");
}

#[test]
fn rests_spare_the_gateway_most_of_its_wakes_and_cost_the_bus_nothing() {
    for max_in_flight in [2, 8, 32] {
        let run = |rests| {
            let mut bench = Bench::with(&[physical()], max_in_flight);
            bench.rests = rests;
            program_all(&mut bench);
            let begins = bench.when(0, &EcuReport::TransferBegins { offset: 0 }).unwrap();
            (bench.when(0, &EcuReport::Acknowledged { offset: 20_000 }).unwrap() - begins, bench.wakes)
        };
        let ((awake, many), (rested, few)) = (run(false), run(true));
        assert!(rested <= awake + awake / 1_000, "{max_in_flight} in flight: {awake:?} and {rested:?}");
        assert!(
            max_in_flight < 8 || few * 10 < many * 6,
            "{max_in_flight} in flight: {many} and {few} wakes"
        );
    }
}

#[test]
fn with_two_sessions_every_frame_is_heard_at_once() {
    let run = |rests| {
        let mut bench = Bench::new(&[physical(), physical()]);
        bench.rests = rests;
        program_all(&mut bench);
        bench.wakes
    };
    // The one that ends last has the bus for itself.
    let (many, few) = (run(false), run(true));
    assert!(few > many * 8 / 10, "{many} and {few} wakes");
}

#[test]
fn telemetry_yields_to_programming_and_keeps_within_its_share() {
    let mut bench = Bench::new(&[physical()]);
    for tag in 0..200 {
        bench.master.send_telemetry(telemetry(tag)).unwrap();
    }
    bench.order(0, program(0));
    let began = bench.now;
    bench.run_while(|bench| bench.when(0, &finished()).is_none());
    let is_telemetry = |frame: &&FdFrame| frame.id() == telemetry(0).id();
    let held: Duration =
        bench.sent.iter().filter(is_telemetry).map(|it| BitTiming::FD_500K_2M.frame_duration(it)).sum();
    // 5 % of the time and one burst of 5 ms.
    let share = (bench.now - began) / 20 + 5 * MS;
    assert!(held > MS && held <= share + LONGEST_FRAME, "{held:?} in {:?}", bench.now - began);
    bench.run();
    assert_eq!(bench.sent.iter().filter(is_telemetry).count(), 200);
}

#[test]
fn telemetry_has_a_bound_and_needs_a_bus() {
    let seat = SeatConfig::new(EcuIndex(0), ids(0), functional_id(), Arc::new(physical()));
    let mut master = BusMaster::new([seat]);
    assert_eq!(master.send_telemetry(telemetry(0)), Err(telemetry(0)));
    master.handle_bus_up();
    for _ in 0..256 {
        assert_eq!(master.send_telemetry(telemetry(0)), Ok(()));
    }
    assert_eq!(master.send_telemetry(telemetry(0)), Err(telemetry(0)));
}

#[test]
fn programming_keeps_within_its_share() {
    let share = |permille| PacingConfig {
        programming: Share::permille(permille).unwrap(),
        ..PacingConfig::default()
    };
    let duration = |pacing| {
        let mut bench = Bench::paced(&[physical()], 8, pacing);
        bench.order(0, program(0));
        bench.run();
        let whole = bench.when(0, &EcuReport::Acknowledged { offset: 20_000 }).unwrap();
        whole - bench.when(0, &EcuReport::TransferBegins { offset: 0 }).unwrap()
    };
    // 20,000 bytes are 340 frames of 330 us: 112 ms of bus time, less one burst, at a fifth of the bus.
    let held = duration(share(200));
    assert!(held > 500 * MS && held < 700 * MS, "{held:?}");
    assert!(duration(share(1000)) < 200 * MS);
}

#[test]
fn a_passive_controller_programs_at_a_tenth_and_goes_on_as_before_once_it_is_active() {
    let mut bench = Bench::new(&[physical()]);
    let acknowledged = |offset| EcuReport::Acknowledged { offset };
    bench.order(0, program(0));
    bench.run_while(|bench| bench.when(0, &acknowledged(1_022 * 2)).is_none());
    let now = bench.now;
    bench.master.handle_bus_state(now, ControllerState::ErrorPassive);
    bench.run_while(|bench| bench.when(0, &acknowledged(1_022 * 6)).is_none());
    let slow = bench.now - now;
    // Four blocks are 68 frames, 22 ms of bus time, less one burst.
    assert!(slow > 120 * MS, "{slow:?}");
    let now = bench.now;
    bench.master.handle_bus_state(now, ControllerState::ErrorActive);
    bench.run_while(|bench| bench.when(0, &acknowledged(1_022 * 10)).is_none());
    assert!(bench.now - now < 60 * MS, "{:?}", bench.now - now);
}

#[test]
fn a_controller_that_is_off_ends_every_session() {
    let mut bench = Bench::new(&[physical()]);
    bench.order(0, EcuOrder::Identify);
    bench.reports.clear();
    bench.master.handle_bus_state(bench.now, ControllerState::BusOff);
    let expected = EcuReport::Failed(EcuError::BusDown { reason: "the controller is bus-off".to_owned() });
    assert_eq!(bench.master.poll_report(), Some((EcuIndex(0), expected)));
}
