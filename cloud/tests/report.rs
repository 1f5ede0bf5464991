//! Pages from a subscriber's directory. With `GATEWAYD_REPORT_DIR` set they stay there, for a browser to be driven over
//! them (`make test-report`).

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod windows;

use std::path::{Path, PathBuf};

use gateway_cloud::report;
use gateway_cloud::subscribe::{Message, Output, ReceivedWindow};
use telemetry::{Decoded, Decoder, Encoder, StreamId};

const VIN: &str = "WVWZZZ1JZXW000001";

/// What a subscriber writes of `count` windows of each vehicle, sent through the codec.
fn subscribe(dir: &Path, vehicles: &[&str], count: u64, hostile: bool) {
    let mut output = Output::open(dir).unwrap();
    for (boot, vin) in (1..).zip(vehicles) {
        let mut encoder = Encoder::new(telemetry::BootId(boot), StreamId::PROFILE).unwrap();
        let mut decoder = Decoder::new();
        for index in 0..count {
            let block = encoder.encode(&windows::window(index, hostile)).unwrap();
            let Decoded::Window { header, missed, window } = decoder.decode(&block).unwrap() else {
                panic!("a new block")
            };
            let (vin, stream) = ((*vin).to_owned(), telemetry::topics::Stream::Profile);
            let received = ReceivedWindow { vin, stream, header, missed, window };
            output.write(&Message::Window(Box::new(received))).unwrap();
        }
    }
    output.flush().unwrap();
}

fn events(dir: &Path, hostile: bool) {
    let detail = if hostile {
        "</script><script>document.title='x'</script>"
    } else {
        "chunk 17 does not match its leaf"
    };
    let mut lines = String::new();
    let stages = [
        ("METADATA", 0, 420, None, "ok"),
        ("DOWNLOAD", 420, 5200, Some("brake-01"), "ok"),
        ("VERIFY", 500, 5150, Some("brake-01"), "ok"),
        ("TRANSFER", 5700, 9300, Some("brake-01"), "ok"),
        ("ACTIVATE", 15_000, 1200, Some("brake-01"), "ok"),
        ("DOWNLOAD", 5620, 2200, Some("door-02"), "ok"),
        ("VERIFY", 7900, 40, Some("door-02"), "failed"),
        ("REPORT", 16_200, 90, None, "ok"),
    ];
    for (number, trace) in ["Ga1b2c3d4e5f60718", "G0000000000000abc"].iter().enumerate() {
        let trace = &trace[..16];
        for (seq, (stage, start, duration, ecu, status)) in stages.iter().enumerate() {
            let at = windows::START + 60_000 * number as u64 + start + duration;
            let mut event = serde_json::json!({
                "vin": VIN, "stage_code": stage, "status": status, "span_duration_ms": duration, "thread_name": "bus",
                "boot": "b1", "seq": 100 * number + seq, "at": at, "ota_trace_id": trace,
            });
            if let Some(ecu) = ecu {
                event["ecu_serial"] = (*ecu).into();
            }
            if *status == "failed" {
                event["detail"] = serde_json::json!({ "code": "CHUNK", "message": detail });
            }
            lines.push_str(&format!("{event}\n"));
        }
    }
    std::fs::write(dir.join("events.jsonl"), lines).unwrap();
}

fn page(dir: &Path, vehicle: Option<&str>) -> String {
    std::fs::read_to_string(report::write(dir, vehicle).unwrap()).unwrap()
}

/// A directory that ends with the test, or stays where one was asked for.
fn place(name: &str) -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("GATEWAYD_REPORT_DIR") {
        Some(dir) => {
            let dir = Path::new(&dir).join(name);
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            (dir, None)
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            (dir.path().to_owned(), Some(dir))
        }
    }
}

/// What a page must never hold, whoever wrote the names in it: elements that load, and scripts besides its own and the
/// data. (Attributes need quotes and tags to be any; text may look like them.)
fn assert_sealed(page: &str) {
    for element in ["<link", "<img", "<iframe", "<object", "<embed", "<base", "<form", "@import"] {
        assert!(!page.contains(element), "{element}");
    }
    // The policy names the script by its hash.
    assert!(page.matches("<script").count() <= 2 && page.matches("</script>").count() <= 2);
    assert!(page.contains("default-src 'none'") && !page.contains("script-src 'unsafe"));
}

#[test]
fn a_subscribers_directory_becomes_a_page_with_every_dimension() {
    let (dir, _keep) = place("plain");
    subscribe(&dir, &[VIN], 40, false);
    events(&dir, false);
    let page = page(&dir, None);
    assert_sealed(&page);
    for outside in ["http://", "https://", "src=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for text in [
        "What WVWZZZ1JZXW000001 reported",
        "Memory: heap",
        "Blocking: run queue",
        "Locks",
        "mmcblk0 · write · in the device",
        "cpu_busy_ppm",
        "Trace G0000000000000ab on",
        "chunk 17 does not match its leaf",
        "script-src 'sha256-",
        "isotp::Link::handle_frame",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn hostile_names_become_text() {
    let (dir, _keep) = place("hostile");
    subscribe(&dir, &[VIN], 5, true);
    events(&dir, true);
    let page = page(&dir, None);
    assert_sealed(&page);
    assert!(page.contains("&lt;/script&gt;") && page.contains("\\u003c/script\\u003e"));
}

#[test]
fn one_vehicle_of_several_can_be_asked_for() {
    let (dir, _keep) = place("fleet");
    subscribe(&dir, &[VIN, "WVWZZZ1JZXW000002", "WVWZZZ1JZXW000003"], 12, false);
    let page_of_all = page(&dir, None);
    assert_sealed(&page_of_all);
    assert!(page_of_all.contains("What 3 vehicles reported"));
    let one = page(&dir, Some("WVWZZZ1JZXW000002"));
    assert!(one.contains("What WVWZZZ1JZXW000002 reported") && !one.contains("WVWZZZ1JZXW000003"));
    // The page that stays is the one of all.
    page(&dir, None);
}

#[test]
fn an_empty_directory_is_an_error_that_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let error = report::write(dir.path(), None).unwrap_err();
    assert!(error.to_string().contains("summary.json"), "{error}");
}

#[test]
fn lines_that_are_none_are_counted_and_said() {
    let (dir, _keep) = place("broken");
    subscribe(&dir, &[VIN], 2, false);
    let path = dir.join("profiles.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{{\n[]\n")).unwrap();
    let page = page(&dir, None);
    assert!(page.contains("2 lines of telemetry could not be read"));
}
