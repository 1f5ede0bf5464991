//! The way in to code for instructions that not every CPU has: ask, then call.
#![allow(unsafe_code, reason = "whether the instructions are there is known when the program runs")]

/// A safe function around `inner`, which has target features, behind `check`, which asks the CPU for all of them.
macro_rules! guarded {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $output:ty)? {
            $check:ident => $inner:ident
        }
    ) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $kind),*) $(-> $output)? {
            assert!($check(), "asked for instructions that this CPU does not have");
            // SAFETY: the CPU has the instructions, as was just checked.
            unsafe { $inner($($argument),*) }
        }
    };
}

pub(crate) use guarded;
