//! Names of places in a program that a C compiler made, as a whole and as a debug file alone. `not checked` without the
//! compiler and binutils.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::process::Command;

use gateway_cloud::export::symbols::Symbols;
use telemetry::{BuildId, Mapping};

const SOURCE: &str = "
static inline __attribute__((always_inline)) int inlined(volatile int *x) {
    for (int i = 0; i < 10; i++) *x += i;
    return *x;
}
__attribute__((noinline)) int _stext(int x) { return x + 3; }
__attribute__((noinline)) int hog(int x) { volatile int y = x; return inlined(&y) + 1; }
int main(int count, char **arguments) { (void)arguments; return hog(count) + _stext(count); }
";

/// Runs a command; `None` where it is not there.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A directory of debug files with one file in it, under that name behind the first byte of the build id.
fn debug_dir(dir: &Path, name: &str, id: &str, file: &Path, ending: &str) -> Symbols {
    let place = dir.join(name).join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(file, place.join(format!("{}{ending}", &id[2..]))).unwrap();
    Symbols::from_dir(&dir.join(name))
}

#[test]
fn a_program_and_its_debug_file_alone_give_the_same_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    std::fs::write(at("a.c"), SOURCE).unwrap();
    let id = "00112233445566778899aabbccddeeff00112233";
    let build_id = format!("-Wl,--build-id=0x{id}");
    let built = run("cc", &["-g", "-O1", &build_id, "-o", &text("a"), &text("a.c")])
        .and_then(|_| run("objcopy", &["--only-keep-debug", &text("a"), &text("a.debug")]))
        .and_then(|_| run("nm", &[&text("a")]));
    let Some(symbols) = built else { return println!("not checked: no C compiler, or no binutils") };
    let address = |name: &str| {
        let line = symbols.lines().find(|it| it.ends_with(&format!(" T {name}"))).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    let headers = run("readelf", &["-lW", &text("a")]).unwrap();
    let code = headers.lines().find(|it| it.contains("LOAD") && it.contains("R E")).unwrap();
    let numbers: Vec<_> = code
        .split_whitespace()
        .filter_map(|it| u64::from_str_radix(it.strip_prefix("0x")?, 16).ok())
        .collect();
    // The second instructions or so: behind the loop's set-up, inside of what was inlined.
    let offset = address("hog") - numbers[1] + numbers[0] + 8;

    let id_bytes: Vec<u8> =
        (0..id.len()).step_by(2).map(|it| u8::from_str_radix(&id[it..it + 2], 16).unwrap()).collect();
    let mapping = |path: &str| Mapping { build_id: BuildId::new(&id_bytes).unwrap(), path: path.into() };
    let mut whole = debug_dir(dir.path(), "whole", id, &at("a"), "");
    let mut alone = debug_dir(dir.path(), "alone", id, &at("a.debug"), ".debug");
    let found = whole.resolve(&mapping("/usr/bin/a"), offset);
    assert_eq!(found, alone.resolve(&mapping("/usr/bin/a"), offset));
    let names: Vec<_> = found.iter().map(|it| &*it.name).collect();
    assert!(names == ["hog"] || names == ["inlined", "hog"], "{names:?}");
    assert!(found.iter().all(|it| it.file.ends_with("a.c") && (2..9).contains(&it.line)), "{found:?}");

    // The kernel's offsets count from `_stext`.
    let from_stext = address("hog") - address("_stext");
    for symbols in [&mut whole, &mut alone] {
        let found = symbols.resolve(&mapping("[kernel]"), from_stext);
        assert_eq!(found.last().map(|it| &*it.name), Some("hog"));
    }
}
