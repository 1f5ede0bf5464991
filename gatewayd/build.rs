//! Compiles the profiler's programs in the kernel, where they are wanted. Nothing else is made at build time.

use std::path::Path;
use std::process::Command;

const SOURCE: &str = "bpf/capture.c";
/// What is tried, the first that answers; `CLANG` names another one.
const COMPILERS: [&str; 7] =
    ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    if std::env::var_os("CARGO_FEATURE_BPF").is_none() {
        return;
    }
    if let Err(reason) = compile() {
        println!("cargo::error={reason}");
    }
}

fn compile() -> Result<(), String> {
    let var = |name| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let registers = match var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        "riscv64" => "riscv",
        // There the profiler has no perf events either, and does not ask for programs.
        _ => return Ok(()),
    };
    let compiler = compiler().ok_or(
        "feature `bpf` needs clang 14 or newer with the target bpf (Debian: apt-get install clang-14); CLANG names \
         one, and without the feature none is needed",
    )?;
    let object = Path::new(&var("OUT_DIR")?).join("capture.o");
    let output = Command::new(&compiler)
        // Where this tree lies must not be told to the vehicle, nor make the object another.
        .args([
            "-target",
            "bpfel",
            "-mcpu=v3",
            "-O2",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fdebug-prefix-map=.=",
        ])
        .arg(format!("-fdebug-prefix-map={}=.", var("CARGO_MANIFEST_DIR")?))
        .arg(format!("-D__TARGET_ARCH_{registers}"))
        .args(["-c", SOURCE, "-o"])
        .arg(&object)
        .output()
        .map_err(|error| format!("{compiler}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!(
            "{compiler} {SOURCE}: {}",
            said.lines().take(20).collect::<Vec<_>>().join(" | ")
        ));
    }
    strip(&compiler, &object);
    Ok(())
}

fn compiler() -> Option<String> {
    if let Ok(named) = std::env::var("CLANG") {
        return Some(named);
    }
    let answers = |name: &str| Command::new(name).arg("--version").output().is_ok();
    COMPILERS.into_iter().find(|name| answers(name)).map(str::to_owned)
}

/// Takes out what only debuggers read: most of the object. Where there is no tool for it, it stays.
fn strip(compiler: &str, object: &Path) {
    let tool = compiler.replace("clang", "llvm-strip");
    for tool in [tool.as_str(), "llvm-strip"] {
        if Command::new(tool).arg("-g").arg(object).output().is_ok_and(|output| output.status.success()) {
            return;
        }
    }
}
