//! Errors of downloads.

use super::OfficialSet;
use crate::data::DataError;
use crate::error::{Cause, Error};
use std::path::PathBuf;

/// The reason why a set could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server has no such file, or does not give it.
    #[error("{url}: the server responded with status {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },

    /// There is no such server.
    #[error("{url}: the name of the server is not found")]
    UnknownHost {
        /// The address.
        url: String,
    },

    /// The server's certificate is not trusted.
    #[error("{url}: {message}")]
    Certificate {
        /// The address.
        url: String,
        /// The reason.
        message: String,
    },

    /// The proxy does not connect to the server.
    #[error("{url}: {message}")]
    Proxy {
        /// The address.
        url: String,
        /// The reason.
        message: String,
    },

    /// The server sends from one address to the next.
    #[error("{url}: {message}")]
    Redirects {
        /// The address.
        url: String,
        /// The reason.
        message: String,
    },

    /// A page is sent in place of the archive.
    #[error("{url} is a web page, not an archive")]
    WebPage {
        /// The address.
        url: String,
    },

    /// No answer, or no more data, for too long.
    #[error("{url}: no data for {seconds} s")]
    Stalled {
        /// The address.
        url: String,
        /// The longest time that was waited for.
        seconds: u64,
    },

    /// The connection failed or ended early.
    #[error("{url}: {message}")]
    Connection {
        /// The address.
        url: String,
        /// The reason.
        message: String,
    },

    /// The address, or that of a proxy, cannot be used.
    #[error("{url}: {message}")]
    Address {
        /// The address.
        url: String,
        /// The reason.
        message: String,
    },

    /// The file has another size than the archive.
    #[error("{url} has {found} bytes, expected {expected}")]
    WrongSize {
        /// The address.
        url: String,
        /// Bytes of the archive.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },

    /// The file is larger than any archive that is taken.
    #[error("{url} has more than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit: u64,
    },

    /// The file has another MD5 sum than the archive.
    #[error("{url} has MD5 sum {found}, expected {expected}")]
    WrongSum {
        /// The address.
        url: String,
        /// The archive's sum.
        expected: String,
        /// The file's.
        found: String,
    },

    /// The archive holds something else than the set.
    #[error("{url} does not hold {}", match set { OfficialSet::Cifar10 => "CIFAR-10", OfficialSet::Cifar100 => "CIFAR-100" })]
    OtherContent {
        /// The address.
        url: String,
        /// The set.
        set: OfficialSet,
    },

    /// Another process downloads to the same place.
    #[error("another download is writing to {}", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },

    /// A file could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Cause for DownloadError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Status { status: 407, .. } | Self::Proxy { .. } => {
                "the proxy may want a name and password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
            }
            Self::Status { status: 408 | 429 | 500.., .. } => "try again later: what has arrived is kept",
            Self::Status { .. } => "check the address",
            Self::UnknownHost { .. } => "check the address and the network; HTTPS_PROXY names a proxy",
            Self::Certificate { .. } => {
                "install the system's certificates (package ca-certificates); a company's proxy may need its own among them, or \
                 in the file that SSL_CERT_FILE names"
            }
            Self::Stalled { .. } | Self::Connection { .. } => {
                "run the same command again to resume; HTTPS_PROXY names a proxy"
            }
            Self::Address { .. } => {
                "an address begins with https:// or http://; HTTPS_PROXY and ALL_PROXY name proxies"
            }
            Self::Redirects { .. } => "the server may want a login: check the address in a browser",
            Self::WebPage { .. } | Self::WrongSize { .. } | Self::WrongSum { .. } => {
                "it is another file, perhaps the page of a login: check the address, or give the MD5 sum of another archive of the set"
            }
            Self::TooLarge { .. } | Self::OtherContent { .. } => "check the address",
            Self::Busy { .. } => "wait for it, or name another folder",
            Self::Data(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

impl From<DownloadError> for Error {
    fn from(error: DownloadError) -> Self {
        Error::Part(Box::new(error))
    }
}
