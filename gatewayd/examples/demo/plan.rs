//! Which campaign this start is about: the unfinished one, or a new one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::args::Args;
use crate::cloud;
use crate::failure::{Failure, Outcome};
use crate::state::{Home, Package, State, unix_ms};
use crate::units::bytes;
use crate::vehicle::ECUS;
use crate::view::View;

/// Binaries built here, one per ECU: a good minute on the busier of the two buses.
const DEFAULTS: [&str; 3] = ["gatewayctl", "gatewayd", "gatewayctl"];

/// Takes up the campaign that an earlier start left unfinished, or makes room for a new one.
pub(crate) fn choose(args: &Args, home: &Home, view: &mut View) -> Outcome<State> {
    let earlier = home.load().filter(|it| it.published && !it.finished);
    if let Some(mut state) = earlier.filter(|_| !args.fresh) {
        match same_wish(args, home, &state) {
            Ok(()) => {
                state.starts += 1;
                let (campaign, trace, starts) = (&state.campaign, state.trace, state.starts);
                view.print(&format!(
                    "going on with unfinished campaign {campaign} ({trace}), start {starts}"
                ));
                return Ok(state);
            }
            Err(why) => view.print(&format!("beginning again: {why}")),
        }
    }
    let packages = packages(args, home)?;
    home.clear()?;
    let mut state = State {
        published: false,
        finished: false,
        campaign: "first-light".to_owned(),
        trace: cloud::new_trace()?,
        started_at_ms: unix_ms(SystemTime::now()),
        untimed: args.untimed,
        starts: 1,
        packages: Vec::new(),
        spoiled: Vec::new(),
        tampered: args.tampered(),
    };
    home.save(&state)?;
    if let Some(size) = args.size {
        generate(&generated(&home.dir), size)?;
    }
    state.packages = packages.iter().map(|it| Package::of(it)).collect::<Outcome<_>>()?;
    for (ecu, package) in ECUS.iter().zip(&state.packages) {
        view.print(&format!(
            "package for {:<13} {:>10}  {}",
            ecu.serial,
            bytes(package.len),
            package.path.display()
        ));
    }
    Ok(state)
}

/// Why the unfinished campaign is not what the command line asks for.
fn same_wish(args: &Args, home: &Home, state: &State) -> Result<(), String> {
    if args.untimed != state.untimed || args.tampered() != state.tampered {
        return Err("the unfinished campaign was begun with other options".to_owned());
    }
    if args.size.is_some_and(|size| state.packages.first().is_none_or(|it| it.len != size)) {
        return Err("the unfinished campaign has another --size".to_owned());
    }
    let wanted = packages(args, home).map_err(|error| error.message)?;
    for (wanted, published) in wanted.iter().zip(&state.packages) {
        if Package::of(wanted).ok().as_ref() != Some(published) {
            return Err(format!("{} is not what was published", wanted.display()));
        }
    }
    Ok(())
}

/// The files to publish, one per ECU.
fn packages(args: &Args, home: &Home) -> Outcome<Vec<PathBuf>> {
    let mut packages = args.packages.clone();
    if args.size.is_some() {
        packages.push(generated(&home.dir));
    }
    let built = crate::children::binary()?;
    for name in DEFAULTS.iter().skip(packages.len()) {
        let file = built.with_file_name(name);
        if !file.is_file() {
            return Err(Failure::input(format!(
                "no {} to publish; run make demo, which builds it, or name files with --package",
                file.display()
            )));
        }
        packages.push(file);
    }
    Ok(packages)
}

fn generated(dir: &Path) -> PathBuf {
    dir.join("packages").join("generated.bin")
}

/// A file of zeros that takes no room on the disk.
fn generate(path: &Path, size: u64) -> Outcome<()> {
    let make = || {
        std::fs::create_dir_all(path.parent().unwrap_or(path))?;
        File::create(path)?.set_len(size)
    };
    make().map_err(Failure::of(format!("cannot make {}", path.display())))
}
