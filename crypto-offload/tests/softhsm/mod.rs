//! A SoftHSM token for tests that are run again with it.

use std::path::Path;
use std::process::Command;

/// Where distributions put the library.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The library, in a run that has a token.
pub(crate) const LIBRARY: &str = "GATEWAYD_TEST_PKCS11";
pub(crate) const LABEL: &str = "gatewayd-test";
pub(crate) const PIN: &str = "1234";

/// Makes a token and runs the tests of this file again, except the one called `except`, with it. SoftHSM finds its
/// tokens by an environment variable, which a running program cannot change safely.
pub(crate) fn run_again_with_a_token(except: &str) {
    let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    let (Some(library), Ok(_)) = (library, Command::new("softhsm2-util").arg("--version").output()) else {
        println!("not checked: softhsm2 is not installed");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).expect("a directory");
    let config = directory.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&config, text).expect("a file");
    let init = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "5678", "--pin", PIN])
        .env("SOFTHSM2_CONF", &config)
        .output()
        .expect("softhsm2-util runs");
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let again = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--skip", except, "--test-threads", "1"])
        .env("SOFTHSM2_CONF", &config)
        .env(LIBRARY, library)
        .output()
        .expect("this test runs");
    let output = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{output}\n{}", String::from_utf8_lossy(&again.stderr));
    assert!(!output.contains(" 0 passed"), "{output}");
}
