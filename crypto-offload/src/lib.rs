//! Digests, signatures and AEAD as jobs for an engine: software, or a coprocessor.
//!
//! The contract: a job that [`queue::Queue::submit`] takes in comes out of [`queue::Queue::poll_completion`] exactly
//! once, with the answer that the CPU would have given or an error, and before its deadline or as
//! [`job::JobError::Deadline`], whatever the engines do.
//!
//! Nothing here has a clock or a thread, except the engines of PKCS#11 tokens and of `AF_ALG`, whose interfaces wait, a
//! token's key for TLS, and the coprocessor's emulator on a socket. The loop that drives it:
//!
//! ```
//! # #[cfg(feature = "software")] {
//! use std::time::{Duration, Instant};
//!
//! use crypto_offload::job::{HashAlgorithm, Job, JobId, Operation, Outcome};
//! use crypto_offload::queue::{Limits, Queue};
//! use crypto_offload::software::SoftwareEngine;
//!
//! // Preferred engines first; the CPU stands last and does what the others cannot.
//! let software = SoftwareEngine::new().expect("this CPU computes what the standards say");
//! let mut queue = Queue::new(Limits::default(), vec![Box::new(software)]);
//!
//! let now = Instant::now();
//! let operation = Operation::Digest { algorithm: HashAlgorithm::Sm3, data: b"abc".to_vec() };
//! queue.submit(now, Job { id: JobId(1), deadline: now + Duration::from_secs(1), operation })?;
//!
//! while !queue.is_empty() {
//!     let now = Instant::now();
//!     while let Some(completion) = queue.poll_completion(now) {
//!         assert_eq!(completion.id, JobId(1));
//!         let Ok(Outcome::Digest(digest)) = completion.result else { panic!("{completion:?}") };
//!         assert!(digest.to_string().starts_with("66c7f0f4"));
//!     }
//!     // Sleep until a device signals or `queue.poll_timeout()` falls due.
//! }
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`job`] is all that sans-io cores may see; small digests and signature checks they make through [`job::Verifier`].
//! [`software::SoftwareVerifier`] is that trait on the CPU. With feature `signing`, the publishing side makes keys,
//! signatures and sealed chunks; with feature `device`, there is the engine over a coprocessor; with `pkcs11`, tokens with
//! keys that do not leave them; with `af-alg`, the kernel's own crypto; with `testing`, devices with faults to order.
#![deny(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "an error is the rare case and carries both digests of a mismatch"
)]

#[cfg(feature = "af-alg")]
pub mod af_alg;
#[cfg(feature = "signing")]
pub mod certificate;
#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "software")]
pub mod engine;
#[cfg(feature = "software")]
mod ghash;
#[cfg(feature = "software")]
mod guarded;
pub mod job;
#[cfg(feature = "software")]
pub mod known_answer;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "software")]
pub mod queue;
#[cfg(feature = "signing")]
pub mod signing;
#[cfg(feature = "software")]
pub mod sm2;
#[cfg(feature = "software")]
pub mod sm3;
#[cfg(feature = "software")]
pub mod sm4;
#[cfg(feature = "software")]
pub mod software;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
