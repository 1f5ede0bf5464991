//! libgcrypt, the fastest library with SM3 and SM4 that there is in C, where it is installed.
#![allow(unsafe_code, reason = "a C library, loaded when the benchmark runs")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr::{null, null_mut};

use libloading::{Library, Symbol};

/// gcrypt.h.
const CIPHER_SM4: c_int = 318;
const MODE_CCM: c_int = 8;
const MODE_GCM: c_int = 9;
const SET_CCM_LENGTHS: c_int = 69;
const MD_SM3: c_int = 326;
const DISABLE_HWF: c_int = 63;
const INITIALIZATION_FINISHED: c_int = 38;

type Handle = *mut c_void;
type Bytes = unsafe extern "C" fn(Handle, *const u8, usize) -> c_uint;

/// The library and a key in it.
pub(crate) struct Libgcrypt {
    library: Library,
    gcm: Handle,
    ccm: Handle,
    /// As the library says it.
    pub(crate) version: String,
}

impl Libgcrypt {
    /// Loads the library of `GATEWAYD_LIBGCRYPT`, or the system's, and hides `features` of the CPU from it.
    pub(crate) fn load(features: &[&str], key: &[u8; 16]) -> Result<Self, String> {
        let path = std::env::var_os("GATEWAYD_LIBGCRYPT").unwrap_or_else(|| "libgcrypt.so.20".into());
        // SAFETY: the library's constructors do nothing but set it up.
        let library = unsafe { Library::new(&path) }.map_err(|error| error.to_string())?;
        let mut this = Self { library, gcm: null_mut(), ccm: null_mut(), version: String::new() };
        // SAFETY: the signatures are gcrypt.h's, and the arguments live as long as each call.
        unsafe {
            let control: Symbol<'_, unsafe extern "C" fn(c_int, ...) -> c_uint> =
                this.symbol(b"gcry_control\0")?;
            for feature in features {
                let name = CString::new(*feature).map_err(|error| error.to_string())?;
                control(DISABLE_HWF, name.as_ptr(), null::<c_char>());
            }
            let version: Symbol<'_, unsafe extern "C" fn(*const c_char) -> *const c_char> =
                this.symbol(b"gcry_check_version\0")?;
            let version = version(null());
            if version.is_null() {
                return Err("libgcrypt does not start".into());
            }
            let version = std::ffi::CStr::from_ptr(version).to_string_lossy().into_owned();
            control(INITIALIZATION_FINISHED, 0 as c_int);
            let open: Symbol<'_, unsafe extern "C" fn(*mut Handle, c_int, c_int, c_uint) -> c_uint> =
                this.symbol(b"gcry_cipher_open\0")?;
            let set_key: Symbol<'_, Bytes> = this.symbol(b"gcry_cipher_setkey\0")?;
            let [gcm, ccm] = [MODE_GCM, MODE_CCM].map(|mode| {
                let mut cipher = null_mut();
                if open(&raw mut cipher, CIPHER_SM4, mode, 0) == 0 {
                    set_key(cipher, key.as_ptr(), key.len());
                }
                cipher
            });
            if gcm.is_null() || ccm.is_null() {
                return Err(format!("libgcrypt {version} has no SM4-GCM or no SM4-CCM"));
            }
            (this.gcm, this.ccm, this.version) = (gcm, ccm, version);
        }
        Ok(this)
    }

    /// Seals `text` in place by SM4-GCM.
    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], String> {
        self.seal_with(self.gcm, false, nonce, aad, text)
    }

    /// Seals `text` in place by SM4-CCM.
    pub(crate) fn seal_ccm(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], String> {
        self.seal_with(self.ccm, true, nonce, aad, text)
    }

    fn seal_with(
        &self,
        cipher: Handle,
        lengths_first: bool,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; 16], String> {
        let mut tag = [0; 16];
        // SAFETY: the signatures are gcrypt.h's, `cipher` is open, and each length is that of its buffer. Without
        // input, `gcry_cipher_encrypt` works in place.
        unsafe {
            self.symbol::<Bytes>(b"gcry_cipher_setiv\0")?(cipher, nonce.as_ptr(), nonce.len());
            if lengths_first {
                let mut lengths = [text.len() as u64, aad.len() as u64, tag.len() as u64];
                let control: Symbol<'_, unsafe extern "C" fn(Handle, c_int, *mut c_void, usize) -> c_uint> =
                    self.symbol(b"gcry_cipher_ctl\0")?;
                control(cipher, SET_CCM_LENGTHS, lengths.as_mut_ptr().cast(), size_of_val(&lengths));
            }
            self.symbol::<Bytes>(b"gcry_cipher_authenticate\0")?(cipher, aad.as_ptr(), aad.len());
            let encrypt: Symbol<
                '_,
                unsafe extern "C" fn(Handle, *mut u8, usize, *const u8, usize) -> c_uint,
            > = self.symbol(b"gcry_cipher_encrypt\0")?;
            encrypt(cipher, text.as_mut_ptr(), text.len(), null(), 0);
            let get_tag: Symbol<'_, unsafe extern "C" fn(Handle, *mut u8, usize) -> c_uint> =
                self.symbol(b"gcry_cipher_gettag\0")?;
            get_tag(cipher, tag.as_mut_ptr(), tag.len());
        }
        Ok(tag)
    }

    /// SM3 of `data`.
    pub(crate) fn sm3(&self, data: &[u8]) -> Result<[u8; 32], String> {
        let mut digest = [0; 32];
        // SAFETY: the signature is gcrypt.h's, and SM3 writes 32 bytes.
        unsafe {
            let hash: Symbol<'_, unsafe extern "C" fn(c_int, *mut u8, *const u8, usize)> =
                self.symbol(b"gcry_md_hash_buffer\0")?;
            hash(MD_SM3, digest.as_mut_ptr(), data.as_ptr(), data.len());
        }
        Ok(digest)
    }

    /// # Safety
    /// `T` must be what the library's header says of `name`.
    unsafe fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>, String> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get(name) }.map_err(|error| error.to_string())
    }
}
