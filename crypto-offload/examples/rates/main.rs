//! Rates of hashes and ciphers on one core, each beside its peers in the same run, and of the chunk pipeline.
//!
//! `make bench-crypto`, or `cargo run --release -p crypto-offload --example rates`
//!
//! Medians of processor time. libgcrypt is the system's or that of `GATEWAYD_LIBGCRYPT`, OpenSSL the command `GATEWAYD_OPENSSL4`. To hold a lesser class of
//! machine against it, the same features of the CPU are hidden from it, which needs a process per class.

mod clock;
mod libgcrypt;
mod openssl;
mod pipeline;
mod symmetric;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    if let (Some("--class"), Some(name)) = (arguments.next().as_deref(), arguments.next()) {
        symmetric::run_class(&name);
        return Ok(());
    }
    let this = std::env::current_exe()?;
    for class in symmetric::CLASSES.iter().filter(|class| class.backend.is_available()) {
        std::process::Command::new(&this).args(["--class", class.name]).status()?;
    }
    symmetric::run_modes();
    symmetric::run_hashes();
    pipeline::run()
}
