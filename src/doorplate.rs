//! `admin.url` and `admin.token` in the data folder: how commands find the desk of the running process.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use admin::Token;

const URL: &str = "admin.url";
const TOKEN: &str = "admin.token";

/// The two files; dropping it removes them.
pub struct Doorplate {
    folder: PathBuf,
}

impl Doorplate {
    /// Writes both files, the token first: who finds the address finds the token too.
    pub fn hang(folder: &Path, address: SocketAddr, token: &Token) -> std::io::Result<Self> {
        write(folder, TOKEN, token.as_str())?;
        write(folder, URL, &url(address))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The address and token that hang in a folder; `None` when none do.
    pub fn read(folder: &Path) -> Option<(String, String)> {
        let read = |name| fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned()).ok();
        Some((read(URL)?, read(TOKEN)?))
    }
}

impl Drop for Doorplate {
    fn drop(&mut self) {
        for name in [URL, TOKEN] {
            let _ = fs::remove_file(self.folder.join(name)); // a plate that stays points nowhere, and the next start replaces it
        }
    }
}

/// The address as one can call it from this machine.
pub fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}

/// Written beside and renamed, so that nobody reads half of it.
fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let beside = folder.join(format!("{name}.new"));
    let _ = fs::remove_file(&beside); // left by a process that was killed; its mode might differ
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(out, "{text}")?;
    fs::rename(&beside, folder.join(name))
}
