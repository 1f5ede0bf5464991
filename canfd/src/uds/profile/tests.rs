use super::*;
use std::time::Duration;

const TWO_BANKS: &str = r#"
    extended_session = "functional"
    dtc_setting = "functional"
    communication_control = "skip"
    security = { seed_key = { level = 0x11, algorithm = "demonstration-multiply-add" } }
    erase = { routine = 0xFF00, address_and_length = false }
    banks = [{ address = 0x0800_0000 }, { address = 0x0900_0000 }]
    checksum = { routine = 0x0202, algorithm = "crc32" }
    activation = { switch_bank = { routine = 0x0301 } }
    resume = { reported_offset = { did = 0xFD01 } }
    [timings]
    p2 = "50ms"
    [order]
    security_before_programming_session = true
    fingerprint_after_erase = true
"#;

#[test]
fn an_empty_profile_is_the_default_and_takes_the_usual_steps() {
    let profile: Profile = toml::from_str("").unwrap();
    assert_eq!(profile, Profile::default());
    assert_eq!(profile.validate(), Ok(()));
    use Phase::*;
    let expected = [
        Identification,
        ExtendedSession,
        DtcSettingOff,
        CommunicationOff,
        ProgrammingSession,
        Fingerprint,
        AwaitTransfer,
        Erase,
        RequestDownload,
        TransferData,
        TransferExit,
        Checksum,
        Dependencies,
        AwaitActivation,
        Reset,
        ReadBack,
        Restore,
    ];
    assert_eq!(profile.steps(), expected);
}

#[test]
fn another_dialect_takes_other_steps() {
    let profile: Profile = toml::from_str(TWO_BANKS).unwrap();
    assert_eq!(profile.validate(), Ok(()));
    assert_eq!(profile.timings.p2, Duration::from_millis(50));
    assert_eq!(profile.timings.s3, Duration::from_secs(2));
    use Phase::*;
    let expected = [
        Identification,
        ExtendedSession,
        DtcSettingOff,
        SecurityAccess,
        ProgrammingSession,
        AwaitTransfer,
        ResumeQuery,
        Erase,
        Fingerprint,
        RequestDownload,
        TransferData,
        TransferExit,
        Checksum,
        Dependencies,
        AwaitActivation,
        SwitchBank,
        Reset,
        ReadBack,
        Restore,
    ];
    assert_eq!(profile.steps(), expected);
}

#[test]
fn unknown_keys_and_values_without_unit_are_refused() {
    for bad in [
        "resett_type = 1",
        "[timings]\np2 = 50",
        "[timings]\np2 = \"50\"",
        "security = { seed_key = { level = 2, algorithm = \"x\" } }",
        "activation = { switch_bank = { routine = 1, bank = 2 } }",
    ] {
        assert!(toml::from_str::<Profile>(bad).is_err(), "{bad}");
    }
}

#[test]
fn contradictions_are_found() {
    let of = |change: fn(&mut Profile)| {
        let mut profile = Profile::default();
        change(&mut profile);
        profile.validate()
    };
    assert_eq!(of(|p| p.max_block_length = 3), Ok(()));
    assert_eq!(of(|p| p.max_block_length = 2), Err(ProfileError::MaxBlockLength { length: 2 }));
    assert_eq!(of(|p| p.banks.clear()), Err(ProfileError::Banks { count: 0, needed: 1 }));
    let activation = Activation::SwitchBank { routine: RoutineId(1) };
    let one_bank = Profile { activation, ..Profile::default() };
    assert_eq!(one_bank.validate(), Err(ProfileError::Banks { count: 1, needed: 2 }));
    assert_eq!(of(|p| p.banks[0].address = 0xFFFF_FFFF), Ok(()));
    let error = ProfileError::BankAddress { address: 0x1_0000_0000, address_bytes: 4 };
    assert_eq!(of(|p| p.banks[0].address = 0x1_0000_0000), Err(error));
    let error = ProfileError::Width { key: "memory.length_bytes", bytes: 9 };
    assert_eq!(of(|p| p.memory.length_bytes = 9), Err(error));
    assert_eq!(of(|p| p.programming_session = 1), Err(ProfileError::ProgrammingSession { session: 1 }));
}

#[test]
fn address_and_length_take_the_widths_of_the_profile() {
    let mut profile = Profile::default();
    assert_eq!(profile.range(0x0102, 0x0A).to_bytes(), [0x44, 0, 0, 1, 2, 0, 0, 0, 0x0A]);
    profile.memory = Memory { address_bytes: 3, length_bytes: 5, data_format: 0 };
    assert_eq!(profile.range(0x0102, 0x1_0000_000A).to_bytes(), [0x53, 0, 1, 2, 1, 0, 0, 0, 0x0A]);
}
