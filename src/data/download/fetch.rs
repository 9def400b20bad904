//! Fetches a file over HTTP in as many attempts as it takes.

use super::{DownloadError, DownloadEvent, MOST_BYTES, PartialArchive, Patience, Source};
use crate::data::DataError;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Bytes of new data after which earlier failures no longer count.
const NEW_BYTES: u64 = 1 << 20;
/// Time between two events of received bytes.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why an attempt ended.
enum Failure {
    /// It may be better next time.
    Passing(DownloadError),
    /// It will not.
    Lasting(DownloadError),
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        Failure::Lasting(error)
    }
}

/// Completes `archive`, after the bytes that it has.
pub(super) fn fetch(
    source: &Source,
    archive: &mut PartialArchive,
    patience: &Patience,
    on_event: &mut dyn FnMut(DownloadEvent<'_>),
) -> Result<(), DownloadError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("cifar-gpu/", env!("CARGO_PKG_VERSION")))
        // The certificates that the system trusts, among which are those of a company's proxy.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .timeout_connect(Some(patience.timeout))
        .timeout_recv_response(Some(patience.timeout))
        .timeout_per_read(Some(patience.timeout));
    let agent = Agent::new_with_config(config.build());
    let (mut failures, mut most) = (0, 0);
    loop {
        let mut attempt = Attempt { source, archive, patience, on_event };
        let error = match attempt.run(&agent) {
            Ok(()) => return Ok(()),
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(error)) => error,
        };
        let received = attempt.received()?;
        if received >= most + NEW_BYTES {
            (failures, most) = (0, received);
        }
        if failures == patience.retries {
            return Err(error);
        }
        let pause = patience.pause.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
        failures += 1;
        on_event(DownloadEvent::Retry { error: &error, pause });
        std::thread::sleep(pause);
    }
}

struct Attempt<'a> {
    source: &'a Source,
    archive: &'a mut PartialArchive,
    patience: &'a Patience,
    on_event: &'a mut dyn FnMut(DownloadEvent<'_>),
}

impl Attempt<'_> {
    /// Bytes of the archive so far.
    fn received(&self) -> Result<u64, DownloadError> {
        let metadata = self.archive.file.metadata();
        metadata.map(|found| found.len()).map_err(|error| DataError::io("read", &self.archive.path)(error).into())
    }

    fn run(&mut self, agent: &Agent) -> Result<(), Failure> {
        let mut have = self.received()?;
        match self.source.bytes {
            Some(bytes) if have == bytes => return Ok(()),
            Some(bytes) if have > bytes => have = self.restart()?,
            _ => {}
        }
        let mut request = agent.get(&self.source.url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.failure(error))?;
        match response.status() {
            StatusCode::OK if have > 0 => have = self.restart()?,
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if first_byte(&response) == Some(have) => {
                (self.on_event)(DownloadEvent::Resumed(have));
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                self.restart()?;
                let message = "the server does not continue after what has arrived".to_owned();
                return Err(Failure::Passing(DownloadError::Connection { url: self.source.url.clone(), message }));
            }
            status => {
                let error = DownloadError::Status { url: self.source.url.clone(), status: status.as_u16() };
                let may_pass = status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                return Err(if may_pass { Failure::Passing(error) } else { Failure::Lasting(error) });
            }
        }
        let total = response.body().content_length().map(|length| length.saturating_add(have));
        self.check_size(total)?;
        self.receive(response.into_body(), have, total.or(self.source.bytes))
    }

    /// Drops what has arrived.
    fn restart(&mut self) -> Result<u64, DownloadError> {
        (self.on_event)(DownloadEvent::Restarted);
        self.archive.clear()?;
        Ok(0)
    }

    /// Checks a size that the server gives.
    fn check_size(&self, total: Option<u64>) -> Result<(), DownloadError> {
        let url = || self.source.url.clone();
        match (total, self.source.bytes) {
            (Some(found), Some(expected)) if found != expected => {
                Err(DownloadError::WrongSize { url: url(), expected, found })
            }
            (Some(found), _) if found > MOST_BYTES => Err(DownloadError::TooLarge { url: url(), limit: MOST_BYTES }),
            _ => Ok(()),
        }
    }

    /// Writes a body after the first `have` bytes.
    fn receive(&mut self, body: Body, mut have: u64, total: Option<u64>) -> Result<(), Failure> {
        let (most, url) = (total.unwrap_or(MOST_BYTES), self.source.url.clone());
        let path = self.archive.path.clone();
        let unwritten = |error: io::Error| DownloadError::from(DataError::io("write", &path)(error));
        self.archive.file.seek(SeekFrom::Start(have)).map_err(unwritten)?;
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut shown: Option<Instant> = None;
        loop {
            let read = reader.read(&mut buffer).map_err(|error| self.failure(error.into()))?;
            if read == 0 {
                break;
            }
            have += read as u64;
            if have > most {
                self.archive.clear()?;
                return Err(Failure::Lasting(match total {
                    Some(expected) => DownloadError::WrongSize { url, expected, found: have },
                    None => DownloadError::TooLarge { url, limit: MOST_BYTES },
                }));
            }
            self.archive.file.write_all(&buffer[..read]).map_err(unwritten)?;
            if shown.is_none_or(|shown| shown.elapsed() >= EVENT_INTERVAL) {
                shown = Some(Instant::now());
                (self.on_event)(DownloadEvent::Received { bytes: have, total });
            }
        }
        if total.is_some_and(|total| have < total) {
            let message = format!("the connection ended after {have} bytes");
            return Err(Failure::Passing(DownloadError::Connection { url, message }));
        }
        self.archive.file.sync_all().map_err(unwritten)?;
        (self.on_event)(DownloadEvent::Received { bytes: have, total });
        Ok(())
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error as E;
        let url = self.source.url.clone();
        match error {
            E::Timeout(_) => Failure::Passing(DownloadError::Stalled { url, seconds: self.patience.timeout.as_secs() }),
            E::HostNotFound => Failure::Lasting(DownloadError::UnknownHost { url }),
            E::Io(error) if is_lookup(&error) => Failure::Lasting(DownloadError::UnknownHost { url }),
            // So rustls says that it does not trust a certificate.
            E::Io(error) if error.kind() == ErrorKind::InvalidData => {
                Failure::Lasting(DownloadError::Certificate { url, message: error.to_string() })
            }
            E::Rustls(error) => Failure::Lasting(DownloadError::Certificate { url, message: error.to_string() }),
            E::Io(_) | E::ConnectionFailed | E::Protocol(_) | E::ConnectProxyFailed(_) | E::BodyStalled => {
                Failure::Passing(DownloadError::Connection { url, message: error.to_string() })
            }
            other => Failure::Lasting(DownloadError::Address { url, message: other.to_string() }),
        }
    }
}

/// Whether an error is that of looking up a server's name, which the standard library tells by its text only.
fn is_lookup(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// The first byte of a range that a server sends.
fn first_byte(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
