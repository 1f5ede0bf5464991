//! Rates of ciphers, hashes, signatures and handshakes on one core, each beside its peers in the same run, as ratios with
//! the goals that `SPECIFICATION.md` promises.
//!
//! `make bench-crypto`, or `cargo run --release -p crypto-offload --features tls,signing --example rates`
//!
//! Medians of processor time. libgcrypt is the system's or that of `GATEWAYD_LIBGCRYPT`, OpenSSL the command
//! `GATEWAYD_OPENSSL4`, other peers of SM2 the programs of `GATEWAYD_SM2_PEERS`; what is not there is said. To hold a lesser
//! class of machine against libgcrypt, the same features of the CPU are hidden from it, which needs a process per class;
//! `GATEWAYD_LOADER` is what such a process is started through, where libgcrypt is another distribution's: the path of its
//! `ld-linux`, `--library-path` and a folder.

mod clock;
mod libgcrypt;
mod medians;
mod openssl;
mod pipeline;
mod report;
mod sm2;
mod symmetric;
mod tls;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--class", name] => symmetric::run_class(name),
        ["--part", "modes"] => symmetric::run_modes(),
        ["--part", "hashes"] => symmetric::run_hashes(),
        ["--part", "pipeline"] => pipeline::run()?,
        ["--part", "sm2"] => sm2::run()?,
        ["--part", "tls"] => tls::run()?,
        _ => run_all()?,
    }
    Ok(())
}

fn run_all() -> std::io::Result<()> {
    let mut tally = report::Tally::default();
    for class in symmetric::CLASSES {
        if class.backend.is_available() {
            tally.run("--class", class.name)?;
        }
    }
    for part in ["modes", "hashes", "pipeline", "sm2", "tls"] {
        tally.run("--part", part)?;
    }
    tally.print();
    Ok(())
}
