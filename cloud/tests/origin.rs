//! The origin over real sockets on the loopback, with real clients of both protocols.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![allow(clippy::cast_possible_truncation, reason = "patterns of bytes, and sizes far below 4 GiB")]

mod common;

use common::{Client, Origin, deadline};
use gateway_cloud::serve::{Fault, Limits};
use http::{Method, StatusCode, header};

/// Larger than the transport's windows, so that flow control takes part.
fn image() -> Vec<u8> {
    (0..3_000_000u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_give_whole_files_ranges_and_refusals() {
    deadline(async {
        let image = image();
        let origin = Origin::start(&[("image/targets/a.bin", &image), ("empty", b"")]).await;
        for mut client in origin.clients().await {
            let whole = client.get("/image/targets/a.bin", None).await;
            assert_eq!(whole.status, StatusCode::OK);
            assert_eq!(whole.headers[header::CONTENT_LENGTH], "3000000");
            assert_eq!(whole.headers[header::ACCEPT_RANGES], "bytes");
            assert!(whole.body == image, "{client:?}: body differs");

            let part = client.get("/image/targets/a.bin", Some("bytes=65530-131080")).await;
            assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
            assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 65530-131080/3000000");
            assert!(part.body == image[65530..=131_080], "{client:?}: part differs");

            let past = client.get("/image/targets/a.bin", Some("bytes=3000000-")).await;
            assert_eq!(past.status, StatusCode::RANGE_NOT_SATISFIABLE);
            assert_eq!(past.headers[header::CONTENT_RANGE], "bytes */3000000");

            let head = client.request(Method::HEAD, "/image/targets/a.bin", None).await;
            assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
            assert_eq!(head.headers[header::ETAG], whole.headers[header::ETAG]);

            assert_eq!(client.get("/empty", None).await.body, b"");
            assert_eq!(client.get("/absent", None).await.status, StatusCode::NOT_FOUND);
            for path in ["/../origin.key", "/%2e%2e/server.key", "/image/..%2f..%2fserver.key", "/image"] {
                assert_eq!(client.get(path, None).await.status, StatusCode::NOT_FOUND, "{client:?}: {path}");
            }
            for method in [Method::PUT, Method::POST, Method::DELETE] {
                let refused = client.request(method, "/empty", None).await;
                assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
                assert_eq!(refused.headers[header::ALLOW], "GET, HEAD");
            }
        }
        let counted = origin.statistics.snapshot();
        assert_eq!((counted.connections, counted.requests), (2, 2 * 14));
        assert_eq!(counted.body_bytes, 2 * (3_000_000 + 65_551));
        origin.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_our_certificate_is_refused() {
    deadline(async {
        let origin = Origin::start(&[("a", b"secret")]).await;
        let stranger = Origin::start(&[]).await;
        for identity in [None, Some(&stranger.files)] {
            assert!(
                Client::http3(&origin, identity).await.is_err(),
                "HTTP/3, certificate: {}",
                identity.is_some()
            );
            assert!(
                Client::http2(&origin, identity).await.is_err(),
                "HTTP/2, certificate: {}",
                identity.is_some()
            );
        }
        assert_eq!(origin.statistics.snapshot().requests, 0);
        let mut client = Client::http3(&origin, Some(&origin.files)).await.unwrap();
        assert_eq!(client.get("/a", None).await.body, b"secret");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_reach_the_client_and_end_when_cleared() {
    deadline(async {
        let origin = Origin::start(&[("a", &[7; 100_000])]).await;
        for mut client in origin.clients().await {
            origin.faults.add(Fault::FlipBit { path: "a".into(), offset: 70_000, bit: 7 });
            let body = client.get("/a", None).await.body;
            assert_eq!(body[70_000], 0x87);
            assert_eq!(body.iter().filter(|&&it| it != 7).count(), 1);

            origin.faults.clear();
            origin.faults.add(Fault::Truncate { path: "a".into(), len: 99_999 });
            assert_eq!(client.get("/a", None).await.body.len(), 99_999);

            origin.faults.clear();
            origin.faults.add(Fault::Endless { path: "a".into() });
            assert_eq!(client.read_at_least("/a", 2_000_000).await, 2_000_000);

            origin.faults.clear();
            origin.faults.add(Fault::Stall { path: "a".into(), after: 80_000 });
            assert_eq!(client.read_at_least("/a", 80_000).await, 80_000);

            origin.faults.clear();
            assert_eq!(client.get("/a", None).await.body, [7; 100_000]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_refused() {
    deadline(async {
        let limits = Limits { connections: 1, ..Limits::default() };
        let origin = Origin::start_with(&[("a", b"x")], limits).await;
        let mut first = Client::http3(&origin, Some(&origin.files)).await.unwrap();
        assert_eq!(first.get("/a", None).await.body, b"x");
        assert!(Client::http3(&origin, Some(&origin.files)).await.is_err());
        assert!(Client::http2(&origin, Some(&origin.files)).await.is_err());
        assert_eq!(origin.statistics.snapshot().refused, 2);
        assert_eq!(first.get("/a", None).await.body, b"x");
    })
    .await;
}
