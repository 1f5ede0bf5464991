//! What can be said to a running ECU simulator, one line each.

use super::doip::{DoipFault, DoipPort};
use super::{EcuPort, Fault, SimEcu, WireDirection, WireFault, WireFaultKind};
use canfd::uds::duration;
use canfd::uds::message::{Nrc, ServiceId};
use std::time::{Duration, Instant};

/// The commands, for people.
pub const HELP: &str = "\
help                            this text
list                            the ECUs: name, bus, power, version, session, boots, erases
inject ECU FAULT                something goes wrong from now on; faults add up
clear ECU                       nothing goes wrong any more
power-off ECU                   RAM is lost, flash is kept
power-on ECU
power-cycle ECU
quit                            every ECU is switched off
ECU is a name or `all`. FAULT is one of
  silent                        it hears and says nothing
  endless-pending SID           NRC 0x78 to this service (hexadecimal) for ever
  refuse SID NRC N              it refuses this service N times with this code (both hexadecimal), doing nothing
  reset-during-transfer N       once, after N blocks of 0x36, in the middle of the next
  lose-block-answer N           once, after N blocks of 0x36: programmed, not answered
  flash-failure OFFSET          the cell at this offset of a bank cannot be programmed
  slow-erase TIME               erasing takes so long (30s, 250ms), with NRC 0x78 meanwhile
  wrong-checksum                the checksum routine finds the image wrong
  wrong-dependencies            the dependency routine finds the image unfit
  seed-lockout TIME             0x27 is refused with NRC 0x37 for so long
  wrong-version TEXT            it reports this version after the next boot
  ignore-switch                 the bank switch is acknowledged and not carried out
  dead-after-reset              after the next reset it never answers again
  drop in|out N                 once, after N frames it receives (in) or sends (out)
  duplicate in|out N            the same: the frame comes twice
  reorder in|out N              the same: the next frame overtakes it
  wrong-sn in|out N             the same, at the first consecutive frame: wrong sequence number
  noise PPM [SEED]              any of the last four, at random, in so many frames of a million; 0: off
  disconnect N                  with DoIP, once, after N diagnostic messages: every connection is closed
  unplug N                      with DoIP, after N diagnostic messages: nothing is heard or said any more";

/// A line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The commands, for people
    Help,
    /// What there is
    List,
    /// Something goes wrong
    Inject {
        /// A name or `all`
        ecu: String,
        /// What
        fault: Injection,
    },
    /// Nothing goes wrong any more
    Clear {
        /// A name or `all`
        ecu: String,
    },
    /// Power of an ECU
    Power {
        /// A name or `all`
        ecu: String,
        /// Switch it off, if it is on
        off: bool,
        /// Switch it on, if it is off
        on: bool,
    },
    /// The end
    Quit,
}

/// Something to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// With the ECU
    Ecu(Fault),
    /// With 0x27, for so long
    SeedLockout(Duration),
    /// With one frame
    Wire(WireFault),
    /// With frames at random
    Noise {
        /// In a million
        per_million: u32,
        /// Of the choices
        seed: u64,
    },
    /// With the connections of an ECU on Ethernet
    Connection(DoipFault),
}

impl Command {
    /// Reads a line; `None` for an empty one and for a comment (`#`).
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(line: &str) -> Result<Option<Self>, CommandError> {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
        let command = match verb {
            "help" => Self::Help,
            "list" => Self::List,
            "quit" => Self::Quit,
            "clear" => Self::Clear { ecu: word(&mut words, "ECU")?.to_owned() },
            "power-off" => Self::Power { ecu: word(&mut words, "ECU")?.to_owned(), off: true, on: false },
            "power-on" => Self::Power { ecu: word(&mut words, "ECU")?.to_owned(), off: false, on: true },
            "power-cycle" => Self::Power { ecu: word(&mut words, "ECU")?.to_owned(), off: true, on: true },
            "inject" => {
                let ecu = word(&mut words, "ECU")?.to_owned();
                Self::Inject { ecu, fault: Injection::from_words(&mut words)? }
            }
            other => return Err(CommandError::Unknown { what: "command", word: other.to_owned() }),
        };
        match words.next() {
            None => Ok(Some(command)),
            Some(extra) => Err(CommandError::Extra { word: extra.to_owned() }),
        }
    }
}

impl Injection {
    /// Reads a fault as it stands behind `inject ECU`.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let mut words = text.split_whitespace();
        let fault = Self::from_words(&mut words)?;
        words.next().map_or(Ok(fault), |extra| Err(CommandError::Extra { word: extra.to_owned() }))
    }

    fn from_words<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Self, CommandError> {
        let fault = match word(words, "FAULT")? {
            "silent" => Fault::Silent,
            "endless-pending" => Fault::EndlessPending { service: service(word(words, "SID")?)? },
            "refuse" => Fault::Refuse {
                service: service(word(words, "SID")?)?,
                nrc: Nrc::from_byte(hexadecimal(word(words, "NRC")?, "NRC")?),
                times: number(words, "N")?,
            },
            "reset-during-transfer" => Fault::ResetDuringTransfer { after_blocks: number(words, "N")? },
            "lose-block-answer" => Fault::LoseBlockAnswer { after_blocks: number(words, "N")? },
            "flash-failure" => Fault::FlashFailure { offset: number(words, "OFFSET")? },
            "slow-erase" => Fault::SlowErase { time: time(words)? },
            "wrong-checksum" => Fault::WrongChecksum,
            "wrong-dependencies" => Fault::WrongDependencies,
            "seed-lockout" => return Ok(Self::SeedLockout(time(words)?)),
            "wrong-version" => Fault::WrongVersion { version: word(words, "TEXT")?.as_bytes().to_vec() },
            "ignore-switch" => Fault::IgnoreSwitch,
            "dead-after-reset" => Fault::DeadAfterReset,
            "drop" => return wire(words, WireFaultKind::Drop),
            "duplicate" => return wire(words, WireFaultKind::Duplicate),
            "reorder" => return wire(words, WireFaultKind::Reorder),
            "wrong-sn" => return wire(words, WireFaultKind::WrongSn),
            "noise" => {
                let per_million = number(words, "PPM")?;
                let seed = words.next().map_or(Ok(1), |text| parse(text, "SEED"))?;
                return Ok(Self::Noise { per_million, seed });
            }
            "disconnect" => {
                return Ok(Self::Connection(DoipFault::Disconnect { after: number(words, "N")? }));
            }
            "unplug" => return Ok(Self::Connection(DoipFault::Unplug { after: number(words, "N")? })),
            other => return Err(CommandError::Unknown { what: "fault", word: other.to_owned() }),
        };
        Ok(Self::Ecu(fault))
    }

    /// Makes it go wrong from `now` on with an ECU on a CAN bus.
    ///
    /// # Errors
    /// The fault is one of DoIP.
    pub fn apply(self, now: Instant, port: &mut EcuPort) -> Result<(), WrongTransport> {
        match self {
            Self::Wire(fault) => port.inject_wire(fault),
            Self::Noise { per_million, seed } => port.set_noise(per_million, seed),
            Self::Connection(_) => return Err(WrongTransport { transport: "DoIP" }),
            other => other.apply_to_ecu(now, port.ecu_mut()),
        }
        Ok(())
    }

    /// The same with an ECU on Ethernet.
    ///
    /// # Errors
    /// The fault is one of CAN frames.
    pub fn apply_to_doip(self, now: Instant, port: &mut DoipPort) -> Result<(), WrongTransport> {
        match self {
            Self::Wire(_) | Self::Noise { .. } => return Err(WrongTransport { transport: "CAN" }),
            Self::Connection(fault) => port.inject(fault),
            other => other.apply_to_ecu(now, port.ecu_mut()),
        }
        Ok(())
    }

    fn apply_to_ecu(self, now: Instant, ecu: &mut SimEcu) {
        match self {
            Self::Ecu(fault) => ecu.inject(fault),
            Self::SeedLockout(time) => ecu.inject(Fault::SeedLockout { until: now + time }),
            // Of the transport's, not of the ECU's.
            Self::Wire(_) | Self::Noise { .. } | Self::Connection(_) => {}
        }
    }
}

/// A fault of another transport than the ECU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault of {transport}, which this ECU does not speak")]
pub struct WrongTransport {
    /// Whose fault it is
    transport: &'static str,
}

fn wire<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    kind: WireFaultKind,
) -> Result<Injection, CommandError> {
    let direction = match word(words, "in|out")? {
        "in" => WireDirection::In,
        "out" => WireDirection::Out,
        other => return Err(CommandError::Value { what: "in|out", word: other.to_owned() }),
    };
    Ok(Injection::Wire(WireFault { direction, kind, after: number(words, "N")? }))
}

fn word<'a>(words: &mut impl Iterator<Item = &'a str>, what: &'static str) -> Result<&'a str, CommandError> {
    words.next().ok_or(CommandError::Missing { what })
}

fn number<'a, T: std::str::FromStr>(
    words: &mut impl Iterator<Item = &'a str>,
    what: &'static str,
) -> Result<T, CommandError> {
    parse(word(words, what)?, what)
}

fn parse<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, CommandError> {
    text.parse().map_err(|_| CommandError::Value { what, word: text.to_owned() })
}

fn time<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Duration, CommandError> {
    let text = word(words, "TIME")?;
    duration::parse(text).map_err(|_| CommandError::Value { what: "TIME", word: text.to_owned() })
}

fn service(text: &str) -> Result<ServiceId, CommandError> {
    ServiceId::from_byte(hexadecimal(text, "SID")?)
        .ok_or_else(|| CommandError::Value { what: "SID", word: text.to_owned() })
}

fn hexadecimal(text: &str, what: &'static str) -> Result<u8, CommandError> {
    u8::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| CommandError::Value { what, word: text.to_owned() })
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such word
    #[error("unknown {what} `{word}`; `help` lists them")]
    Unknown {
        /// Command or fault
        what: &'static str,
        /// As written
        word: String,
    },
    /// Something is left out
    #[error("{what} is missing; `help` lists the commands")]
    Missing {
        /// What
        what: &'static str,
    },
    /// A word that means nothing there
    #[error("`{word}` is no {what}; `help` lists the commands")]
    Value {
        /// What was expected
        what: &'static str,
        /// As written
        word: String,
    },
    /// Too much
    #[error("`{word}` is too much")]
    Extra {
        /// The first word that is
        word: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inject(fault: Injection) -> Result<Option<Command>, CommandError> {
        Ok(Some(Command::Inject { ecu: "A".to_owned(), fault }))
    }

    #[test]
    fn every_fault_of_the_help_is_understood() {
        let faults = HELP.lines().skip_while(|line| !line.starts_with("ECU is")).skip(1);
        let mut count = 0;
        for line in faults {
            let spelling = line.trim_start().split("  ").next().unwrap();
            let example = spelling
                .replace("[SEED]", "7")
                .replace("SID", "36")
                .replace("NRC", "94")
                .replace("OFFSET", "4096")
                .replace("TIME", "30s")
                .replace("TEXT", "9.9.9")
                .replace("PPM", "100")
                .replace("in|out", "out")
                .replace(" N", " 3");
            assert!(Injection::parse(&example).is_ok(), "{example}: {:?}", Injection::parse(&example));
            count += 1;
        }
        assert_eq!(count, 20);
    }

    #[test]
    fn lines_say_what_they_say() {
        assert_eq!(Command::parse("  "), Ok(None));
        assert_eq!(Command::parse("# quit"), Ok(None));
        assert_eq!(Command::parse("quit"), Ok(Some(Command::Quit)));
        let slow = Fault::SlowErase { time: Duration::from_secs(30) };
        assert_eq!(Command::parse("inject A slow-erase 30s"), inject(Injection::Ecu(slow)));
        let stuck = Fault::EndlessPending { service: ServiceId::TransferData };
        assert_eq!(Command::parse("inject A endless-pending 0x36"), inject(Injection::Ecu(stuck)));
        let wire = WireFault { direction: WireDirection::In, kind: WireFaultKind::WrongSn, after: 5 };
        assert_eq!(Command::parse("inject A wrong-sn in 5"), inject(Injection::Wire(wire)));
        let cycle = Command::Power { ecu: "all".to_owned(), off: true, on: true };
        assert_eq!(Command::parse("power-cycle all"), Ok(Some(cycle)));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let message = |line| Command::parse(line).unwrap_err().to_string();
        assert_eq!(message("explode"), "unknown command `explode`; `help` lists them");
        assert_eq!(message("inject A explode"), "unknown fault `explode`; `help` lists them");
        assert_eq!(message("inject A drop up 3"), "`up` is no in|out; `help` lists the commands");
        assert_eq!(message("inject A drop in"), "N is missing; `help` lists the commands");
        assert_eq!(message("inject A endless-pending 99"), "`99` is no SID; `help` lists the commands");
        assert_eq!(message("inject A slow-erase 30"), "`30` is no TIME; `help` lists the commands");
        assert_eq!(message("quit now"), "`now` is too much");
    }
}
