//! The file system that keeps links and maps while no process does.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use crate::error::Refusal;
use crate::memory;

/// Makes sure that `path` is a bpf file system, and mounts it if it is not and that is permitted.
pub(crate) fn ready(path: &Path) -> Result<(), Refusal> {
    let failed = |error| Refusal::NoBpffs { path: path.to_owned(), error };
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    match memory::is_bpffs(&c_path) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    memory::mount_bpffs(&c_path).map_err(failed)
}
