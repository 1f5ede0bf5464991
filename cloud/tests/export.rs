//! The forms in which telemetry leaves: against golden files, and against readers that others wrote, where they are
//! installed.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod windows;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway_cloud::export::prometheus::{Endpoint, Registry, RemoteWrite, STALE, Scrape};
use gateway_cloud::export::symbols::Symbols;
use gateway_cloud::export::{self, Profile, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOURCE: Source<'static> = Source { vin: "WVWZZZ1JZXW000001", stream: "profile", boot: 7, seq: 3 };

fn profiles(hostile: bool) -> Vec<Profile> {
    export::profiles(&windows::window(0, hostile), &mut Symbols::default())
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with the file of that name; `GATEWAYD_BLESS=1` writes it.
#[track_caller]
fn assert_golden(name: &str, found: &[u8]) {
    let path = golden(name);
    if std::env::var_os("GATEWAYD_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_default();
    assert!(found == expected, "{name} differs:\n{}", String::from_utf8_lossy(found));
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn every_form_of_a_window_is_as_before() {
    let profiles = profiles(false);
    assert_eq!(profiles.len(), 7);
    for profile in &profiles {
        let slug = export::slug(profile.dimension);
        assert_golden(&format!("{slug}.pb"), &unzip(&export::pprof(profile, &SOURCE)));
    }
    assert_golden("window.otlp", &export::otlp(&profiles, &SOURCE));
    let perf: String = profiles.iter().map(export::perf_script).collect();
    assert_golden("window.perf", perf.as_bytes());
    let folded: Vec<_> = profiles.iter().flat_map(|it| export::folded(it, SOURCE.vin)).collect();
    let folded: String = folded.iter().map(|(stack, value)| format!("{stack} {value}\n")).collect();
    assert_golden("window.folded", folded.as_bytes());
    let mut registry = Registry::default();
    let now = Instant::now();
    registry.add(SOURCE.vin, SOURCE.stream, &windows::window(0, false), now);
    registry.add(SOURCE.vin, SOURCE.stream, &windows::window(1, false), now);
    assert_golden("metrics.openmetrics", registry.open_metrics(now).as_bytes());
    assert_golden("metrics.prom", registry.plain_text(now).as_bytes());
    assert_eq!(registry.open_metrics(now + STALE), "# EOF\n");
}

#[test]
fn hostile_names_stay_within_their_line_and_field() {
    for profile in profiles(true) {
        for line in export::perf_script(&profile).lines().filter(|it| !it.is_empty() && !it.starts_with('\t'))
        {
            assert_eq!(line.split_whitespace().count(), 5, "{line}");
        }
        for (stack, _) in export::folded(&profile, SOURCE.vin) {
            assert!(!stack.contains(['\n', '\r']), "{stack}");
        }
    }
}

/// Runs `tests/peers/check.py` where python has the readers; says so where not.
fn check(arguments: &[&str]) {
    let python = std::env::var("GATEWAYD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/check.py");
    let output = match Command::new(&python).arg(script).args(arguments).output() {
        Ok(output) => output,
        Err(error) => return println!("not checked: {python} does not run: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn others_read_the_golden_files() {
    for kind in ["pprof", "otlp", "openmetrics"] {
        check(&[kind, &golden("").display().to_string()]);
    }
    let metrics = std::fs::File::open(golden("metrics.prom")).unwrap();
    match Command::new("promtool").args(["check", "metrics"]).stdin(metrics).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            // Its remarks are on taste: metrics without a line of help, names with abbreviations.
            let wrong = text.lines().find(|it| {
                !it.contains("no help text") && !it.contains("abbreviated unit") && !it.is_empty()
            });
            assert_eq!(wrong, None, "{text}");
        }
        Err(_) => println!("not checked: promtool is not installed"),
    }
}

#[tokio::test]
async fn a_scrape_is_answered_in_the_form_asked_for() {
    let registry = Arc::new(Mutex::new(Registry::default()));
    registry.lock().unwrap().add(SOURCE.vin, "metrics", &windows::window(0, false), Instant::now());
    let scrape = Scrape::bind(([127, 0, 0, 1], 0).into(), registry).await.unwrap();
    let ask = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(scrape.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        answer
    };
    let rest = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let plain = ask(format!("GET /metrics {rest}\r\n")).await;
    assert!(
        plain.starts_with("HTTP/1.1 200") && plain.contains("version=0.0.4") && !plain.contains("# EOF"),
        "{plain}"
    );
    let open =
        ask(format!("GET /metrics {rest}Accept: application/openmetrics-text;version=1.0.0\r\n\r\n")).await;
    assert!(open.contains("version=1.0.0") && open.trim_end().ends_with("# EOF"), "{open}");
    assert!(ask(format!("GET / {rest}\r\n")).await.starts_with("HTTP/1.1 404"));
    assert!(ask(format!("DELETE /metrics {rest}\r\n")).await.starts_with("HTTP/1.1 405"));
}

/// Pushes windows to an endpoint and waits for the outcome: accepted, refused.
async fn push(url: &str, windows: &[telemetry::Window]) -> (u64, u64) {
    use std::sync::atomic::Ordering;
    let pusher = RemoteWrite::start(Endpoint::parse(url).unwrap());
    let mut registry = Registry::default();
    for window in windows {
        registry.add(SOURCE.vin, "metrics", window, Instant::now());
        pusher.add(&registry, SOURCE.vin, "metrics", window);
    }
    let settled = || {
        let statistics = pusher.statistics();
        (statistics.accepted.load(Ordering::Relaxed), statistics.refused.load(Ordering::Relaxed))
    };
    let all = async {
        while settled().0 + settled().1 < windows.len() as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    settled()
}

#[tokio::test]
async fn a_receiver_that_is_away_for_a_moment_gets_everything_in_order() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for answer in ["503 Busy", "200 OK", "400 Bad Request", "204 No Content"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let head = loop {
                stream.read_buf(&mut request).await.unwrap();
                if let Some(at) = request.windows(4).position(|it| it == b"\r\n\r\n") {
                    break at + 4;
                }
            };
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            assert!(text.contains("content-encoding: snappy") && text.contains("0.1.0"), "{text}");
            let length = text.lines().find_map(|it| it.strip_prefix("content-length: ")).unwrap();
            let length: usize = length.trim().parse().unwrap();
            while request.len() < head + length {
                stream.read_buf(&mut request).await.unwrap();
            }
            bodies.push(request[head..].to_vec());
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        bodies
    });
    let sent: Vec<_> = (0..3).map(|it| windows::window(it, false)).collect();
    assert_eq!(push(&url, &sent).await, (2, 1));
    let bodies = server.await.unwrap();
    assert_eq!(bodies[0], bodies[1], "what was not taken is sent again");
    assert!(bodies[1] != bodies[2] && bodies[2] != bodies[3]);
    assert_golden("write_request.snappy", &bodies[0]);
}

/// A Prometheus server receives remote write and scrapes; `not checked` where it is not installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_server_takes_both() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        return println!("not checked: prometheus is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let registry = Arc::new(Mutex::new(Registry::default()));
    registry.lock().unwrap().add("SCRAPED0000000001", "metrics", &windows::window(0, false), Instant::now());
    let scrape = Scrape::bind(([127, 0, 0, 1], 0).into(), registry).await.unwrap();
    let config = format!(
        "scrape_configs:\n- job_name: gateway-cloud\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}']\n",
        scrape.local_addr()
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let mut server = tokio::process::Command::new("prometheus")
        .current_dir(dir.path())
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
        ])
        .args(["--storage.tsdb.retention.time=10y", "--log.level=error"])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let sent: Vec<_> = (0..3).map(|it| windows::window(it, false)).collect();
    assert_eq!(push(&format!("http://127.0.0.1:{port}/api/v1/write"), &sent).await, (3, 0));
    let query = async |query: &str| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET /api/v1/query?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let at = (windows::START + 3 * windows::LENGTH) / 1000;
    let pushed = query(&format!("time={at}&query=gatewayd_cpu_busy_ppm")).await;
    assert!(pushed.contains("WVWZZZ1JZXW000001") && pushed.contains("\"209002\""), "{pushed}");
    let count =
        query(&format!("time={at}&query=gatewayd_block_io_duration_seconds_count%7Bterm=%22device%22%7D"))
            .await;
    assert!(count.contains("\"9\""), "{count}");
    let scraped = async {
        loop {
            let answer =
                query("query=gatewayd_block_io_duration_seconds_bucket%7Bvin=%22SCRAPED0000000001%22%7D")
                    .await;
            if answer.contains("mmcblk0") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), scraped).await.expect("Prometheus scrapes");
    server.kill().await.unwrap();
}
