//! A bus master against scripted ECUs.

mod bench;
mod sharing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Bench, Place, functional_id, ids, image, program};
use canfd::bus::BusUrl;
use canfd::frame::{CanId, CanIds};
use canfd::pacing::PacingConfig;
use canfd::uds::profile::{Phase, Profile, SendTo};
use canfd::uds::programming::EcuState;

use super::{BusMaster, EcuError, EcuOrder, EcuReport, SeatConfig};
use crate::config::addressing::AddressingPart;
use crate::gateway::message::EcuIndex;

const MS: Duration = Duration::from_millis(1);

/// Everything physical, no check of memory, so that a script needs no arithmetic.
fn physical() -> Profile {
    Profile { checksum: None, ..Profile::default() }
}

/// The steps around programming reach every ECU on the bus.
fn functional() -> Profile {
    let all = SendTo::Functional;
    Profile { extended_session: all, dtc_setting: all, communication_control: all, ..physical() }
}

fn identified(version: &str, hardware: &str) -> EcuReport {
    EcuReport::Identified { version: Some(version.to_owned()), hardware: Some(hardware.to_owned()) }
}

fn bus_down(reason: &str) -> EcuReport {
    EcuReport::Failed(EcuError::BusDown { reason: reason.to_owned() })
}

#[test]
fn each_ecu_is_identified_by_its_own_words_without_padding() {
    let mut bench = Bench::new(&[physical(), physical()]);
    bench.ecus[1].version = b"1.7  ".to_vec();
    bench.order(0, EcuOrder::Identify);
    bench.order(1, EcuOrder::Identify);
    bench.run();
    assert_eq!(bench.reports_of(0), [&identified("1.0.0", "ECU-0")]);
    assert_eq!(bench.reports_of(1), [&identified("1.7", "ECU-1")]);
    for ecu in &bench.ecus {
        assert_eq!(ecu.requests, [[0x22, 0xF1, 0x95], [0x22, 0xF1, 0x91]]);
    }
}

#[test]
fn an_ecu_that_refuses_to_tell_is_there_nonetheless() {
    let profile = Profile { hardware_did: Some(canfd::uds::message::DataIdentifier(0xF1A0)), ..physical() };
    let mut bench = Bench::new(&[profile]);
    bench.order(0, EcuOrder::Identify);
    bench.run();
    let expected = EcuReport::Identified { version: Some("1.0.0".to_owned()), hardware: None };
    assert_eq!(bench.reports_of(0), [&expected]);
}

#[test]
fn a_silent_ecu_times_out_after_p2_with_advice_and_its_neighbour_does_not_notice() {
    let mut bench = Bench::new(&[physical(), physical()]);
    bench.ecus[0].silent = true;
    bench.order(0, EcuOrder::Identify);
    bench.order(1, EcuOrder::Identify);
    bench.run();
    let [EcuReport::Failed(EcuError::Session { phase, state, message })] = bench.reports_of(0)[..] else {
        panic!("{:?}", bench.reports)
    };
    assert_eq!((*phase, *state), (Phase::Identification, EcuState::OldSoftware));
    assert!(message.contains("no answer to") && message.contains("check its power"), "{message}");
    let at = bench.reports.iter().find(|(whose, ..)| *whose == 0).map(|(_, at, _)| *at).unwrap();
    // P2 is 150 ms; the request itself takes less than a millisecond.
    assert!(at >= 150 * MS && at < 151 * MS, "{at:?}");
    assert_eq!(bench.reports_of(1), [&identified("1.0.0", "ECU-1")]);
}

#[test]
fn a_long_answer_that_takes_longer_than_p2_is_no_timeout() {
    let mut bench = Bench::new(&[physical()]);
    // One first frame and 10 consecutive ones, 40 ms apart.
    bench.ecus[0].version = vec![b'v'; 650];
    bench.ecus[0].pace = 40 * MS;
    bench.order(0, EcuOrder::Identify);
    bench.run();
    assert_eq!(bench.reports_of(0), [&identified(&"v".repeat(650), "ECU-0")]);
    assert!(bench.reports[0].1 > 400 * MS, "{:?}", bench.reports[0].1);
}

#[test]
fn an_answer_that_stops_half_way_fails_with_the_transports_reason() {
    let mut bench = Bench::new(&[physical()]);
    bench.ecus[0].version = vec![b'v'; 650];
    // The first frame comes at once; the next is due only after N_Cr, which is 1 s.
    bench.ecus[0].pace = 1_100 * MS;
    bench.order(0, EcuOrder::Identify);
    bench.run_while(|bench| bench.reports.is_empty());
    let [EcuReport::Failed(EcuError::Session { message, .. })] = bench.reports_of(0)[..] else {
        panic!("{:?}", bench.reports)
    };
    assert!(message.contains("the answer was not received"), "{message}");
}

#[test]
fn two_ecus_are_programmed_at_once_and_no_byte_goes_astray() {
    let mut bench = Bench::new(&[physical(), physical()]);
    bench.order(0, program(0));
    bench.order(1, program(1));
    bench.run();
    for at in 0..2 {
        assert!(bench.ecus[at].programmed == image(at), "ECU {at} holds something else");
        let reports = bench.reports_of(at);
        assert_eq!(reports.last(), Some(&&EcuReport::Finished { version: "2.0.0".to_owned() }));
        assert_eq!(reports.iter().filter(|it| ***it == EcuReport::Erased).count(), 1);
        assert!(!reports.iter().any(|it| matches!(it, EcuReport::Failed(_))));
    }
    // They take turns: neither waits for the other to be done.
    let half = EcuReport::Acknowledged { offset: 1_022 * 10 };
    let whole = EcuReport::Acknowledged { offset: 20_000 };
    for (one, other) in [(0, 1), (1, 0)] {
        assert!(bench.when(one, &half).unwrap() < bench.when(other, &whole).unwrap());
    }
}

#[test]
fn the_confirmation_of_a_functional_request_goes_to_the_seat_that_sent_it() {
    let mut bench = Bench::new(&[functional(), functional()]);
    // Seat 0 is waiting for an answer that does not come: no confirmation is due to it.
    bench.ecus[0].silent = true;
    bench.order(0, EcuOrder::Identify);
    bench.order(1, program(1));
    bench.run_while(|bench| bench.when(1, &EcuReport::Entered(Phase::CommunicationOff)).is_none());
    let when = |phase| bench.when(1, &EcuReport::Entered(phase)).unwrap();
    // Nobody answers a functional request, so each step lasts from its confirmation to the end of P2, 150 ms.
    let extended = when(Phase::DtcSettingOff) - when(Phase::ExtendedSession);
    let dtc = when(Phase::CommunicationOff) - when(Phase::DtcSettingOff);
    for step in [extended, dtc] {
        assert!(step >= 150 * MS && step < 152 * MS, "{step:?}");
    }
    assert!(bench.ecus[0].requests.contains(&vec![0x10, 0x83]), "it reaches every ECU");
}

#[test]
fn functional_requests_of_two_seats_are_confirmed_in_the_order_they_were_sent() {
    let mut bench = Bench::new(&[functional(), functional()]);
    bench.order(1, program(1));
    bench.order(0, program(0));
    bench.run();
    for at in 0..2 {
        assert_eq!(bench.reports_of(at).last(), Some(&&EcuReport::Finished { version: "2.0.0".to_owned() }));
        assert!(bench.ecus[at].programmed == image(at), "ECU {at} holds something else");
    }
}

#[test]
fn ecus_that_share_every_id_are_told_apart_by_their_addresses() {
    let id = |raw| CanId::standard(raw).unwrap();
    let place = |ecu: u8, addressing| Place {
        // As some makers have it: every request, functional ones too, goes out on one id.
        ids: CanIds { request: id(0x6F1), response: id(0x600 + u16::from(ecu)) },
        functional: id(0x6F1),
        addressing,
    };
    let extended = |ecu| place(ecu, AddressingPart::Extended { ecu, tester: 0xF1, functional: 0xFE });
    let mixed = |extension| Place {
        ids: ids(0),
        functional: functional_id(),
        addressing: AddressingPart::Mixed { extension },
    };
    let profiles = [functional(), functional()];
    for places in [[extended(0x10), extended(0x20)], [mixed(0x98), mixed(0x99)]] {
        let mut bench = Bench::placed(&profiles, &places, 8, PacingConfig::default());
        bench.order(0, program(0));
        bench.order(1, program(1));
        bench.run();
        for at in 0..2 {
            assert_eq!(
                bench.reports_of(at).last(),
                Some(&&EcuReport::Finished { version: "2.0.0".to_owned() })
            );
            assert!(bench.ecus[at].programmed == image(at), "ECU {at} holds something else");
            assert!(bench.ecus[at].requests.contains(&vec![0x10, 0x83]), "it hears what is for all");
        }
    }
}

#[test]
fn a_bus_that_goes_down_ends_every_session_once_and_the_next_ones_start_clean() {
    let mut bench = Bench::new(&[physical(), physical(), physical()]);
    bench.order(0, program(0));
    bench.order(1, program(1));
    bench.run_while(|bench| bench.when(1, &EcuReport::Acknowledged { offset: 1_022 * 3 }).is_none());
    bench.reports.clear();
    bench.lose_bus("network is down");
    assert_eq!(bench.reports_of(0), [&bus_down("network is down")]);
    assert_eq!(bench.reports_of(1), [&bus_down("network is down")]);
    assert!(bench.reports_of(2).is_empty(), "it had no session");

    bench.reports.clear();
    bench.master.handle_bus_up();
    let up = bench.now;
    for at in 0..3 {
        bench.order(at, EcuOrder::Identify);
    }
    bench.run_while(|bench| bench.reports.len() < 3);
    for at in 0..3 {
        assert_eq!(bench.reports_of(at), [&identified("1.0.0", &format!("ECU-{at}"))]);
    }
    assert!(bench.now - up < 20 * MS, "confirmations that never came are still awaited");
}

#[test]
fn orders_while_the_bus_is_down_are_refused_with_its_reason() {
    let seat = SeatConfig::new(EcuIndex(4), ids(4), functional_id(), Arc::new(physical()));
    let mut master = BusMaster::new([seat]);
    let now = Instant::now();
    for reason in ["not opened yet", "no such device"] {
        for order in [EcuOrder::Identify, program(0)] {
            master.handle_order(now, EcuIndex(4), order);
            assert_eq!(master.poll_report(), Some((EcuIndex(4), bus_down(reason))));
        }
        // These belong to a session, and there is none that could fail.
        for order in [EcuOrder::Data { offset: 0, bytes: vec![0] }, EcuOrder::Activate, EcuOrder::Cancel] {
            master.handle_order(now, EcuIndex(4), order);
        }
        assert_eq!(master.poll_report(), None);
        assert_eq!((master.poll_transmit(now), master.poll_timeout()), (None, None));
        master.handle_bus_down("no such device");
    }
    assert_eq!(master.poll_report(), None);
}

#[test]
fn orders_for_nobody_and_data_for_no_session_change_nothing() {
    let mut bench = Bench::new(&[physical()]);
    bench.order(7, EcuOrder::Identify);
    for offset in [0, 5_000] {
        bench.order(0, EcuOrder::Data { offset, bytes: vec![0; 100] });
    }
    bench.run();
    assert_eq!(bench.reports, []);
    assert!(bench.ecus[0].requests.is_empty());
}

#[test]
fn data_of_another_place_is_forgotten_once_the_wanted_bytes_come() {
    let mut bench = Bench::new(&[physical()]);
    bench.order(0, program(0));
    bench.order(0, EcuOrder::Data { offset: 20_001, bytes: vec![0; 100] });
    bench.run();
    let reports = bench.reports_of(0);
    assert_eq!(reports.last(), Some(&&EcuReport::Finished { version: "2.0.0".to_owned() }), "{reports:?}");
}

#[test]
fn no_more_frames_are_in_flight_than_suit_the_bus() {
    assert_eq!(SeatConfig::frames_in_flight(&BusUrl::Can("can0".to_owned())), 8);
    assert_eq!(SeatConfig::frames_in_flight(&BusUrl::Virtual("/run/bus".into())), 32);

    for max_in_flight in [1, 3, 8] {
        let mut bench = Bench::with(&[physical()], max_in_flight);
        bench.order(0, program(0));
        bench.run();
        assert_eq!(bench.reports_of(0).last(), Some(&&EcuReport::Finished { version: "2.0.0".to_owned() }));
        assert_eq!(bench.most_in_flight, usize::from(max_in_flight));
    }
}
