//! An address byte in front of everything.

use proptest::prelude::*;

use super::*;
use crate::isotp::addressing::{mixed_29, mixed_29_functional, normal_fixed, normal_fixed_functional};

const TESTER: u8 = 0xF1;
const ECU: u8 = 0x10;

fn extended(link_layer: LinkLayer) -> Pair {
    let [mut tester, mut ecu] = [LinkConfig::tester(ids()), LinkConfig::ecu(ids())];
    (tester.link_layer, ecu.link_layer) = (link_layer, link_layer);
    tester.addressing = Addressing::extended(ECU, TESTER);
    ecu.addressing = Addressing::extended(TESTER, ECU);
    Pair::new(None, tester, ecu)
}

fn fd(len: usize) -> LinkLayer {
    LinkLayer::Fd { tx_dl: TxDl::new(len).unwrap(), brs: true }
}

#[test]
fn the_longest_single_frame_is_one_byte_shorter_and_one_more_is_segmented() {
    for (link_layer, longest) in [(LinkLayer::Classical, 6), (fd(8), 6), (fd(12), 9), (LinkLayer::FD, 61)] {
        for (len, frames) in [(longest, 1), (longest + 1, 3)] {
            let mut pair = extended(link_layer);
            pair.assert_transfer(len);
            assert_eq!(pair.log.len(), frames, "{link_layer:?}, {len} bytes");
        }
    }
}

#[test]
fn seven_bytes_take_the_escape_where_frames_are_long_and_the_plain_length_where_six_fit() {
    let mut pair = extended(LinkLayer::FD);
    pair.assert_transfer(6);
    pair.assert_transfer(7);
    let starts: Vec<_> =
        pair.log.iter().map(|(_, frame)| (frame.data()[..3].to_vec(), frame.dlc().len())).collect();
    assert_eq!(starts[0], (vec![ECU, 6, random_bytes(6)[0]], 8));
    assert_eq!(starts[1], (vec![ECU, 0, 7], 12));
}

#[test]
fn both_forms_of_the_first_frame_carry_the_address() {
    let mut pair = extended(LinkLayer::FD);
    pair.assert_transfer(4_095);
    let first = pair.log[0].1;
    assert_eq!(first.data()[..3], [ECU, 0x1F, 0xFF]);
    pair.log.clear();
    pair.assert_transfer(4_096);
    let [(_, first), (_, flow), ..] = pair.log[..] else { panic!() };
    assert_eq!(first.data()[..7], [ECU, 0x10, 0, 0, 0, 0x10, 0]);
    assert_eq!(flow.data()[..2], [TESTER, 0x30]);
    assert!(pair.log[2..].iter().all(|(_, frame)| frame.data()[0] == ECU));
}

#[test]
fn frames_for_another_address_are_not_heard_and_disturb_nothing() {
    let mut lone = Lone::new(|config| config.addressing = Addressing::mixed(0x55));
    lone.start(100);
    let mut stranger = flow_control(FlowStatus::Overflow, 0, 0).data().to_vec();
    stranger.rotate_right(1);
    stranger[0] = 0x56;
    assert_eq!(lone.hear(&from_ecu(&stranger)), []);
    assert_eq!(lone.link.poll_event(), None);
    stranger[0] = 0x55;
    lone.hear(&from_ecu(&stranger));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::BufferOverflow { len: 100 })));
}

#[test]
fn fixed_identifiers_hold_target_then_source() {
    let text = |id: CanId| id.to_string();
    let ids = normal_fixed(TESTER, ECU);
    assert_eq!([text(ids.request), text(ids.response)], ["18DA10F1", "18DAF110"]);
    assert_eq!(text(normal_fixed_functional(TESTER, 0x33)), "18DB33F1");
    let ids = mixed_29(TESTER, ECU);
    assert_eq!([text(ids.request), text(ids.response)], ["18CE10F1", "18CEF110"]);
    assert_eq!(text(mixed_29_functional(TESTER, 0xFF)), "18CDFFF1");
}

proptest! {
    #[test]
    fn every_message_arrives_whatever_the_frames_blocks_and_addresses(
        len in 1usize..9_000, tx_dl in 0usize..9, prefixed: bool, block_size in 0u8..20, st_min in 0usize..4,
    ) {
        let link_layer = [8, 12, 16, 20, 24, 32, 48, 64].get(tx_dl).map_or(LinkLayer::Classical, |&len| fd(len));
        let st_min = StMin::from_code([0, 1, 0xF1, 0xF9][st_min]);
        let mut pair = Pair::of(None, link_layer, |config| {
            (config.block_size, config.st_min) = (block_size, st_min);
            if prefixed {
                config.addressing = Addressing::mixed(0x9A);
            }
        });
        pair.assert_transfer(len);
    }
}
