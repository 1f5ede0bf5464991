//! The same over ISO-TP: on a bus with the timing of a real one, and through sockets and threads.

use super::*;
use crate::bus::BusHub;
use crate::ecu::{EcuNode, EcuPort, NodeConfig, Tester};
use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds};
use canfd::isotp::{self, LinkConfig, LinkLayer, StMin};
use canfd::virtual_bus::{VirtualBus, VirtualBusConfig};

fn ids() -> CanIds {
    CanIds { request: CanId::standard(0x7A0).unwrap(), response: CanId::standard(0x7A8).unwrap() }
}

fn functional_id() -> CanId {
    CanId::standard(0x7DF).unwrap()
}

fn tester(bench: &Bench, now: Instant, st_min: StMin) -> Tester {
    let profile = Arc::new(bench.config.profile.clone());
    let mut programmer = Programmer::new(now, profile, bench.plan.clone()).unwrap();
    programmer.begin_transfer(now);
    programmer.activate(now);
    let link = LinkConfig { st_min, ..LinkConfig::tester(ids()) };
    Tester::new(programmer, link, functional_id(), bench.image.clone())
}

/// An attempt on a simulated bus; returns its last event and the time between first and last acknowledged block.
fn on_bus(bench: &Bench, ecu: SimEcu, timing: Option<BitTiming>, st_min: StMin) -> (Event, Duration) {
    let mut now = bench.now;
    let mut tester = tester(bench, now, st_min);
    let mut port = EcuPort::new(ecu, NodeConfig::new(ids(), Some(functional_id())));
    let mut bus = VirtualBus::new(now, VirtualBusConfig { timing, queue_len: 64 });
    let (gateway, node) = (bus.attach(), bus.attach());
    let (mut first, mut last) = (None, None);
    loop {
        let mut moved = true;
        while moved {
            moved = false;
            while let Some(frame) = tester.poll_transmit(now) {
                moved = true;
                bus.handle_transmit(now, gateway, frame).unwrap();
            }
            while let Some(frame) = port.poll_transmit(now) {
                moved = true;
                bus.handle_transmit(now, node, frame).unwrap();
            }
            while let Some(delivery) = bus.poll_delivery(now) {
                moved = true;
                let own = delivery.from == gateway;
                tester.handle_frame(now, &delivery.frame, own);
                if own {
                    port.handle_frame(now, &delivery.frame);
                } else {
                    port.handle_transmitted(now, &delivery.frame);
                }
            }
        }
        if tester.acknowledged() > 0 && first.is_none() {
            first = Some(now);
        }
        if tester.acknowledged() == bench.plan.image_len && last.is_none() {
            last = Some(now);
        }
        if let Some(event) = tester.take_last() {
            return (event, last.unwrap_or(now) - first.unwrap_or(now));
        }
        let due = [bus.poll_timeout(), tester.poll_timeout(), port.poll_timeout()];
        now = now.max(due.into_iter().flatten().min().expect("somebody waits for something"));
        tester.handle_timeout(now);
        port.handle_timeout(now);
        assert!(now - bench.now < LIMIT, "no end in phase {:?}", tester.phase());
    }
}

/// Programs over a bus, checks the ECU and returns the rate in bytes per second.
fn rate(profile: &str, program_time_per_kib: Duration, timing: Option<BitTiming>) -> f64 {
    let mut bench = Bench::with(profile, 128 << 10, |config| {
        config.max_block_length = 4095;
        config.program_time_per_kib = program_time_per_kib;
    });
    let ecu = SimEcu::open(bench.now, bench.directory.path(), Arc::clone(&bench.config)).unwrap();
    let (event, took) = on_bus(&bench, ecu, timing, StMin::ZERO);
    assert!(matches!(event, Event::Finished { restored: true, .. }), "{event:?}");
    bench.power_cut();
    bench.assert_updated();
    let first_block = 4093.0;
    ((128 << 10) as f64 - first_block) / took.as_secs_f64()
}

#[test]
fn on_a_500k_2m_bus_the_wire_is_the_limit_and_not_the_programmer() {
    let timing = BitTiming::FD_500K_2M;
    // The limit is the stream of consecutive frames alone; a block costs its first frame, flow control and answer too.
    let limit = isotp::consecutive_frame_limit(timing, ids().request, LinkLayer::FD);
    for profile in [ONE_BANK, TWO_BANKS] {
        let share = rate(profile, Duration::ZERO, Some(timing)) / limit;
        println!("programming uses {:.1} % of {:.1} kB/s", share * 100.0, limit / 1e3);
        assert!(share > 0.95 && share < 1.0, "{share}");
    }
}

#[test]
fn on_an_untimed_bus_the_flash_is_the_limit() {
    let rate = rate(TWO_BANKS, Duration::from_millis(1), None);
    assert!((rate / 1_024_000.0 - 1.0).abs() < 0.01, "{rate}");
}

#[test]
fn a_long_answer_that_takes_longer_than_p2_is_no_timeout() {
    // The hardware number is one first frame and 6 consecutive ones, 127 ms apart at the tester's wish; P2 is 150 ms.
    let mut bench = Bench::with(ONE_BANK, 1_000, |config| config.hardware = vec![b'H'; 420]);
    let ecu = SimEcu::open(bench.now, bench.directory.path(), Arc::clone(&bench.config)).unwrap();
    let (event, _) = on_bus(&bench, ecu, Some(BitTiming::FD_500K_2M), StMin::MAX);
    assert!(matches!(event, Event::Finished { restored: true, .. }), "{event:?}");
    bench.power_cut();
    bench.assert_updated();
}

#[test]
fn an_ecu_that_vanishes_from_the_bus_ends_the_attempt() {
    let mut bench = Bench::new(ONE_BANK);
    let mut ecu = SimEcu::open(bench.now, bench.directory.path(), Arc::clone(&bench.config)).unwrap();
    ecu.inject(Fault::ResetDuringTransfer { after_blocks: 2 });
    let (event, _) = on_bus(&bench, ecu, Some(BitTiming::FD_500K_2M), StMin::ZERO);
    let Event::Failed(error) = event else { panic!("{event:?}") };
    assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, EcuState::NoApplication));
    bench.power_cut();
    bench.plan.resume_from = Some(200);
    bench.succeed();
}

#[test]
fn through_a_hub_and_a_thread_an_ecu_is_programmed_and_asked() {
    let mut bench = Bench::with(TWO_BANKS, 20_000, |config| {
        config.boot_time = Duration::from_millis(1);
        config.erase_time = Duration::from_millis(1);
        config.profile.timings.reset_poll = Duration::from_millis(5);
        config.max_block_length = 1024;
    });
    let hub = BusHub::start(&bench.directory.path().join("bus"), None).unwrap();
    let ecu = SimEcu::open(bench.now, bench.directory.path(), Arc::clone(&bench.config)).unwrap();
    let config = NodeConfig::new(ids(), Some(functional_id()));
    let node = EcuNode::start("sim-ecu", canfd::bus::open(&hub.url()).unwrap(), ecu, config).unwrap();
    assert_eq!(node.ask(|ecu| ecu.boots()).unwrap(), 2);

    let mut bus = canfd::bus::open(&hub.url()).unwrap();
    let mut tester = tester(&bench, Instant::now(), StMin::ZERO);
    let event = tester.run(bus.as_mut(), Duration::from_secs(60)).unwrap();
    assert!(matches!(event, Some(Event::Finished { .. })), "{event:?} in phase {:?}", tester.phase());
    assert_eq!(node.ask(|ecu| ecu.running_version().map(<[u8]>::to_vec)).unwrap(), Some(b"2.0.0".to_vec()));
    node.stop().unwrap();
    bench.power_cut();
    bench.assert_updated();
}
