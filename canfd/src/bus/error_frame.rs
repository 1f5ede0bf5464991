//! The controller's own messages, which SocketCAN delivers as error frames (`linux/can/error.h`).

/// How far a controller is from the bus (ISO 11898-1, fault confinement).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerState {
    /// It takes part in full.
    ErrorActive,
    /// It takes part in full; one of its error counters has reached 96.
    ErrorWarning,
    /// One of its error counters has reached 128: it may no longer destroy the frames of others.
    ErrorPassive,
    /// It has left the bus.
    BusOff,
}

/// Bits of the identifier: which of the classes an error frame reports.
const CLASS_CONTROLLER: u32 = 0x004;
const CLASS_BUS_OFF: u32 = 0x040;
const CLASS_RESTARTED: u32 = 0x100;
const CLASS_COUNTERS: u32 = 0x200;

/// The classes that can tell a state; a socket asks the kernel for these and no others, or a bus full of errors would
/// keep the process busy with nothing but reports of them.
pub const STATE_CLASSES: u32 = CLASS_CONTROLLER | CLASS_BUS_OFF | CLASS_RESTARTED | CLASS_COUNTERS;

/// Bits of the second data byte, with [`CLASS_CONTROLLER`].
const WARNING: u8 = 0x04 | 0x08;
const PASSIVE: u8 = 0x10 | 0x20;
const ACTIVE: u8 = 0x40;

/// Error counters at which the state changes.
const WARNING_FROM: u8 = 96;
const PASSIVE_FROM: u8 = 128;

/// The state that an error frame reports, `None` where it reports something else.
///
/// `class` is the identifier without its flags. Drivers differ in what they fill in, so the worst of what is said
/// counts: bus-off before the controller's status, its status before the error counters.
pub fn controller_state(class: u32, data: &[u8; 8]) -> Option<ControllerState> {
    let [_, controller, _, _, _, _, tx_errors, rx_errors] = *data;
    if class & CLASS_BUS_OFF != 0 {
        return Some(ControllerState::BusOff);
    }
    if class & CLASS_CONTROLLER != 0 {
        if controller & PASSIVE != 0 {
            return Some(ControllerState::ErrorPassive);
        }
        if controller & WARNING != 0 {
            return Some(ControllerState::ErrorWarning);
        }
        if controller & ACTIVE != 0 {
            return Some(ControllerState::ErrorActive);
        }
    }
    if class & CLASS_RESTARTED != 0 {
        return Some(ControllerState::ErrorActive);
    }
    // An overflow of the controller says nothing about its state, unless the counters stand beside it.
    (class & CLASS_COUNTERS != 0).then(|| match tx_errors.max(rx_errors) {
        0..WARNING_FROM => ControllerState::ErrorActive,
        WARNING_FROM..PASSIVE_FROM => ControllerState::ErrorWarning,
        PASSIVE_FROM.. => ControllerState::ErrorPassive,
    })
}

/// What was reported and not asked for yet: bus-off, which is never passed over, and the last state.
#[derive(Debug, Default)]
pub(super) struct Reported {
    bus_off: bool,
    last: Option<ControllerState>,
}

impl Reported {
    pub(super) fn push(&mut self, state: ControllerState) {
        if state == ControllerState::BusOff {
            *self = Self { bus_off: true, last: None };
        } else {
            self.last = Some(state);
        }
    }

    pub(super) fn pop(&mut self) -> Option<ControllerState> {
        let off = std::mem::take(&mut self.bus_off).then_some(ControllerState::BusOff);
        off.or_else(|| self.last.take())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ControllerState::{BusOff, ErrorActive, ErrorPassive, ErrorWarning};
    use super::*;

    fn controller(status: u8) -> Option<ControllerState> {
        controller_state(CLASS_CONTROLLER, &[0, status, 0, 0, 0, 0, 0, 0])
    }

    fn counters(tx: u8, rx: u8) -> Option<ControllerState> {
        controller_state(CLASS_COUNTERS, &[0, 0, 0, 0, 0, 0, tx, rx])
    }

    #[test]
    fn the_controllers_status_is_its_state_and_an_overflow_is_none() {
        assert_eq!([0x04, 0x08, 0x0C].map(controller), [Some(ErrorWarning); 3]);
        assert_eq!([0x10, 0x20, 0x3C].map(controller), [Some(ErrorPassive); 3]);
        assert_eq!(controller(0x40), Some(ErrorActive));
        assert_eq!([0x00, 0x01, 0x02].map(controller), [None; 3]);
    }

    #[test]
    fn bus_off_is_worse_than_whatever_stands_beside_it_and_a_restart_ends_it() {
        let all = CLASS_BUS_OFF | CLASS_CONTROLLER | CLASS_RESTARTED | CLASS_COUNTERS;
        assert_eq!(controller_state(all, &[0, 0x40, 0, 0, 0, 0, 0, 0]), Some(BusOff));
        assert_eq!(controller_state(CLASS_RESTARTED, &[0; 8]), Some(ErrorActive));
    }

    #[test]
    fn counters_change_the_state_at_96_and_at_128_whichever_is_higher() {
        assert_eq!([counters(95, 0), counters(0, 95)], [Some(ErrorActive); 2]);
        assert_eq!([counters(96, 0), counters(0, 127)], [Some(ErrorWarning); 2]);
        assert_eq!([counters(128, 0), counters(95, 255)], [Some(ErrorPassive); 2]);
    }

    #[test]
    fn a_controller_that_was_off_and_is_back_has_been_off() {
        let mut reported = Reported::default();
        assert_eq!(reported.pop(), None);
        for state in [ErrorPassive, BusOff, BusOff, ErrorPassive, ErrorActive] {
            reported.push(state);
        }
        assert_eq!([reported.pop(), reported.pop(), reported.pop()], [Some(BusOff), Some(ErrorActive), None]);
    }

    #[test]
    fn other_classes_tell_no_state_whatever_their_bytes() {
        // Time out, lost arbitration, protocol, transceiver, no acknowledgement, bus error.
        for class in [0x01, 0x02, 0x08, 0x10, 0x20, 0x80] {
            assert_eq!(controller_state(class, &[0xFF; 8]), None, "{class:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_state_is_told_by_the_classes_asked_for_only(class: u32, data: [u8; 8]) {
            prop_assert_eq!(controller_state(class, &data), controller_state(class & STATE_CLASSES, &data));
        }
    }
}
