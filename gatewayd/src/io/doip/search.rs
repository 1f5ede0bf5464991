//! The search for a DoIP entity whose address nobody has written down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use canfd::doip::Timings;
use canfd::doip::discovery::{Discovery, Query};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout_at};

/// Longest datagram that is looked at; an answer has 41 bytes, and what is longer is none.
const DATAGRAM: usize = 64;

/// Asks at `host` and `port`, a broadcast or multicast address or that of one entity, and gives the first that answers to
/// `query`. Lasts A_DoIP_Ctrl at most, 2 s.
pub(super) async fn find(host: &str, port: u16, query: Query) -> Result<SocketAddr, String> {
    let wrong = |error: std::io::Error| error.to_string();
    let mut discovery = Discovery::new(Instant::now().into_std(), query, &Timings::default());
    let to = lookup_host((host, port)).await.map_err(wrong)?.next().ok_or("no such host")?;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(wrong)?;
    socket.set_broadcast(true).map_err(wrong)?;
    let mut datagram = [0; DATAGRAM];
    loop {
        let now = Instant::now().into_std();
        if discovery.is_over(now) {
            return Err("no entity answers to that identity".to_owned());
        }
        while let Some(request) = discovery.poll_transmit(now) {
            socket.send_to(&request, to).await.map_err(wrong)?;
        }
        let due = discovery.poll_timeout();
        let Ok(received) = timeout_at(due.into(), socket.recv_from(&mut datagram)).await else {
            continue;
        };
        // A refusal by one host says nothing of the others.
        let Ok((len, from)) = received else { continue };
        if let Err(error) = discovery.handle_datagram(from, datagram.get(..len).unwrap_or_default()) {
            tracing::debug!(%from, %error, "not a DoIP answer");
        }
        if let Some((entity, _)) = discovery.found().first() {
            return Ok(*entity);
        }
    }
}

#[cfg(test)]
mod tests {
    use canfd::doip::server::{Server, ServerConfig};
    use canfd::doip::{Eid, LogicalAddress};

    use super::*;

    #[tokio::test]
    async fn the_first_that_answers_to_the_identity_is_taken_and_noise_is_not() {
        let (entity, other) = tokio::join!(bound(), bound());
        let at = entity.local_addr().unwrap();
        let search = tokio::spawn(async move { find("127.0.0.1", at.port(), Query::Eid(Eid([7; 6]))).await });
        let mut datagram = [0; DATAGRAM];
        let (len, tester) = entity.recv_from(&mut datagram).await.unwrap();
        let announcement = |eid| {
            let mut config = ServerConfig::new(LogicalAddress(0x1001));
            config.identity.eid = Eid([eid; 6]);
            Server::new(config)
        };
        assert_eq!(announcement(8).handle_datagram(&datagram[..len]), None, "it is not the one");
        other.send_to(b"noise", tester).await.unwrap();
        other.send_to(&announcement(8).announcement(), tester).await.unwrap();
        let answer = announcement(7).handle_datagram(&datagram[..len]).unwrap();
        entity.send_to(&answer, tester).await.unwrap();
        assert_eq!(search.await.unwrap(), Ok(at));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_without_it_is_given_up_after_two_seconds_and_three_requests() {
        let silent = bound().await;
        let port = silent.local_addr().unwrap().port();
        let begun = Instant::now();
        let error = find("127.0.0.1", port, Query::Vin(canfd::doip::Vin([b'A'; 17]))).await.unwrap_err();
        assert!(error.contains("no entity answers"), "{error}");
        assert!(begun.elapsed() >= Timings::default().control);
        let mut requests = 0;
        while silent.try_recv(&mut [0; DATAGRAM]).is_ok() {
            requests += 1;
        }
        assert_eq!(requests, 3);
    }

    async fn bound() -> UdpSocket {
        UdpSocket::bind(("127.0.0.1", 0)).await.unwrap()
    }
}
