//! An MQTT 5 broker in this process.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// How long the broker may take to open its port.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a broker on a port that is free and returns its URL. It runs until the process ends.
pub(crate) fn start() -> Outcome<String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let listen = free.map_err(Failure::of("no free TCP port for the broker"))?;
    let config = config(listen);
    std::thread::Builder::new()
        .name("broker".to_owned())
        // It reports by log, which nobody reads here; that it does not listen shows below.
        .spawn(move || drop(rumqttd::Broker::new(config).start()))
        .map_err(Failure::of("the broker's thread"))?;
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect_timeout(&listen, Duration::from_secs(1)).is_err() {
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "the embedded broker does not listen on {listen}; try --broker"
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(format!("mqtt://{listen}"))
}

fn config(listen: SocketAddr) -> rumqttd::Config {
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 2 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "v5".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 << 20,
            max_segment_count: 8,
            ..Default::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Default::default()
    }
}
